"""The pages of the notices of a price change; they stand below the page of the change."""

from django.urls import path

from desk.notices import page

urlpatterns = [
    path("<int:pk>/notices/", page.notices, name="notices"),
    path("<int:pk>/notices/mark/", page.mark, name="mark_told"),
    path("<int:pk>/notices/file/", page.out, name="notices_file"),
    path("<int:pk>/notices/upload/", page.upload, name="upload_told"),
]
