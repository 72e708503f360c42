from django.urls import path

from desk.finding import views

urlpatterns = [
    path("search/", views.search, name="search"),
    path("subscriptions/", views.subscriptions, name="subscriptions"),
    path("clients/", views.clients, name="clients"),
    path("services/", views.services, name="services"),
    path("plans/", views.plans, name="plans"),
]
