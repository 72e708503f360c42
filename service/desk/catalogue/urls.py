from django.urls import path

from desk.catalogue import changing, pages

urlpatterns = [
    path("services/new/", changing.add_service, name="add_service"),
    path("services/<int:pk>/", pages.service, name="service"),
    path("services/<int:pk>/edit/", changing.edit_service, name="edit_service"),
    path("services/<int:pk>/price/", changing.change_list_price, name="change_list_price"),
    path("plans/new/", changing.add_plan, name="add_plan"),
    path("plans/<int:pk>/", pages.plan, name="plan"),
    path("plans/<int:pk>/edit/", changing.edit_plan, name="edit_plan"),
    path("plans/<int:pk>/discount/", changing.change_discount, name="change_discount"),
]
