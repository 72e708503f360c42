from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("", not_yet, name="files"),
    path("imports/", not_yet, name="imports"),
    path("imports/<int:pk>/", not_yet, name="import"),
]
