"""The tutorial's last chapter as a site, for a web server: benchmarks.tutorial_site:application.

It has chapter 11's page (the stored price, the total through the cache), cut to a hundred rows,
without authentication, as in the document. It has our settings, so the same middleware.
"""

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path
from rest_framework.renderers import JSONRenderer

import benchmarks  # noqa: F401 - sets Django up
from benchmarks.tutorial_variants import TotalCached

urlpatterns = [
    path(
        "api/subscriptions/",
        TotalCached.as_view(
            {"get": "list"},
            authentication_classes=[],
            permission_classes=[],
            renderer_classes=[JSONRenderer],
        ),
    )
]
settings.ROOT_URLCONF = __name__
application = WSGIHandler()
