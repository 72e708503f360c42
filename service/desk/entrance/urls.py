from django.urls import path

from desk.entrance import languages, views

urlpatterns = [
    path("log-in/", views.LogIn.as_view(), name="log_in"),
    path("log-out/", views.LogOut.as_view(), name="log_out"),
    path("language/", languages.choose, name="language"),
]
