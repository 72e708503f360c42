from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("clients/<int:pk>/", not_yet, name="client"),
    path("subscriptions/<int:pk>/", not_yet, name="subscription"),
]
