from django.urls import path

from desk.then.bridging import bridging, rows
from desk.then.evidencing import evidence, evidence_file
from desk.then.then import then

urlpatterns = [
    path("", then, name="then"),
    path("bridge/", bridging, name="bridge"),
    path("bridge/rows/", rows, name="bridge_rows"),
    path("evidence/", evidence, name="evidence"),
    path("evidence/file/", evidence_file, name="evidence_file"),
]
