"""The pages of price changes in the desk."""

from django.urls import path

from desk.changes.braking import brake
from desk.changes.counting import change_clients, change_count
from desk.changes.listing import changes
from desk.changes.page import change
from desk.changes.plan import clone_change, new_change, plan_change, rest_of_change
from desk.changes.rows import change_rows
from desk.changes.verb_pages import change_verb
from desk.notices.urls import urlpatterns as of_notices

urlpatterns = [
    path("", changes, name="changes"),
    path("new/", new_change, name="new_change"),
    path("new/clients/", change_clients, name="change_clients"),
    path("new/<slug:kind>/", plan_change, name="plan_change"),
    path("new/<slug:kind>/count/", change_count, name="change_count"),
    path("brake/", brake, name="brake"),
    path("<int:pk>/", change, name="change"),
    path("<int:pk>/rows/", change_rows, name="change_rows"),
    path("<int:pk>/clone/", clone_change, name="clone_change"),
    path("<int:pk>/rest/", rest_of_change, name="rest_of_change"),
    *of_notices,
    path("<int:pk>/<slug:verb>/", change_verb, name="change_verb"),
]
