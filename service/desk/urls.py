"""The paths of the desk; each subject has its own below."""

from django.urls import include, path

app_name = "desk"
urlpatterns = [
    path("", include("desk.home.urls")),
    path("desk/", include("desk.entrance.urls")),
    path("desk/", include("desk.finding.urls")),
    path("desk/", include("desk.clients.urls")),
    path("desk/", include("desk.catalogue.urls")),
    path("desk/changes/", include("desk.changes.urls")),
    path("desk/files/", include("desk.files.urls")),
    path("desk/then/", include("desk.then.urls")),
]
