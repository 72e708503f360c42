from django.urls import path

from desk.home.views import home

urlpatterns = [path("", home, name="home")]
