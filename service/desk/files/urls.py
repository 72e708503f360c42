from django.urls import path

from desk.files import exporting, looking, uploading

urlpatterns = [
    path("", uploading.files, name="files"),
    path("upload/", uploading.upload, name="upload"),
    path("mappings/forget/", uploading.forget_mapping, name="forget_mapping"),
    path("exports/", exporting.exports, name="exports"),
    path("exports/<slug:name>/", exporting.export, name="export"),
    path("imports/", looking.imports, name="imports"),
    path("imports/<int:pk>/", looking.look, name="import"),
    path("imports/<int:pk>/problems/", looking.problems, name="import_problems"),
    path("imports/<int:pk>/do/", looking.do, name="do_import"),
]
