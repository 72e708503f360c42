from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("services/<int:pk>/", not_yet, name="service"),
    path("plans/<int:pk>/", not_yet, name="plan"),
]
