from django.urls import path

from desk.not_yet import not_yet

urlpatterns = [
    path("", not_yet, name="changes"),
    path("new/", not_yet, name="new_change"),
    path("new/<slug:kind>/", not_yet, name="plan_change"),
    path("<int:pk>/", not_yet, name="change"),
    path("<int:pk>/rows/", not_yet, name="change_rows"),
    path("brake/", not_yet, name="brake"),
]
