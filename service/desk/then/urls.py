from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("", not_yet, name="then"),
    path("bridge/", not_yet, name="bridge"),
    path("evidence/", not_yet, name="evidence"),
]
