from django.urls import path

from desk.finding import views
from desk.not_yet import not_yet

urlpatterns = [
    path("search/", not_yet, name="search"),
    path("subscriptions/", views.subscriptions, name="subscriptions"),
    path("clients/", views.clients, name="clients"),
    path("services/", views.services, name="services"),
    path("plans/", views.plans, name="plans"),
]
