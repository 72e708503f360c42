from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("search/", not_yet, name="search"),
    path("subscriptions/", not_yet, name="subscriptions"),
    path("clients/", not_yet, name="clients"),
    path("services/", not_yet, name="services"),
    path("plans/", not_yet, name="plans"),
]
