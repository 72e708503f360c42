from django.urls import path

from desk.clients import changing, pages

urlpatterns = [
    path("clients/new/", changing.add_client, name="add_client"),
    path("clients/<int:pk>/", pages.client, name="client"),
    path("clients/<int:pk>/edit/", changing.edit_client, name="edit_client"),
    path("clients/<int:pk>/add/", changing.add, name="add_subscription"),
    path("subscriptions/<int:pk>/", pages.subscription, name="subscription"),
    path("subscriptions/<int:pk>/edit/", changing.edit_subscription, name="edit_subscription"),
    path("subscriptions/<int:pk>/<slug:name>/", changing.verb, name="subscription_verb"),
]
