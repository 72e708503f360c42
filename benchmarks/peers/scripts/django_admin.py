"""Django's own admin: the list of a model, as its documentation registers one.

It counts what it lists, and sums nothing.
"""

from typing import Any

from django_peer import DjangoPeer, set_up
from worker import serve

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
PROCESSORS = ["django.template.context_processors.request"] + [
    f"django.contrib.{app}.context_processors.{app}" for app in ("auth", "messages")
]
set_up(
    *(f"django.contrib.{app}" for app in ("admin", "sessions", "messages", "staticfiles")),
    ALLOWED_HOSTS=["localhost"],
    MIDDLEWARE=MIDDLEWARE,
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": PROCESSORS},
        }
    ],
)

from book.models import SubscriptionFields
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path


class Subscription(SubscriptionFields):
    class Meta:
        app_label = "book"


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin):
    list_display = ["id", "client", "service", "plan", "price", "external_id", "started_at"]
    list_filter = ["service", "plan"]
    list_select_related = ["client", "service", "plan"]
    list_per_page = 50  # as Pricebook's


urlpatterns = [path("admin/", admin.site.urls)]


class Admin(DjangoPeer):
    subscription = Subscription
    browser: Client

    def ask_log_in(self) -> None:
        self.browser = Client(SERVER_NAME="localhost")
        self.browser.force_login(User.objects.create_superuser("reader"))

    def ask_page(self, calls: int) -> dict[str, Any]:
        """The first page of the list: the CPU of one of so many calls, in seconds, and its text."""
        cpu = self.cpu()
        for _ in range(calls):
            answer = self.browser.get("/admin/book/subscription/")
        return {"cpu": (self.cpu() - cpu) / calls, "text": answer.content.decode()}


serve(Admin())
