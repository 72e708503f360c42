from django.urls import path
from django.views.i18n import set_language

from desk.entrance import views

urlpatterns = [
    path("log-in/", views.LogIn.as_view(), name="log_in"),
    path("log-out/", views.LogOut.as_view(), name="log_out"),
    path("language/", set_language, name="language"),
]
