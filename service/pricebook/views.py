"""The views that are not about the book."""

from typing import Any, NoReturn

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pricebook.api_schema.answers import schema
from pricebook.kit import decimals
from pricebook.kit.content import JSONRenderer


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The health check: 200 while the database answers, else 503. Open to all; no details."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("the database does not answer", status=503, content_type="text/plain")
    return HttpResponse("ok", content_type="text/plain")


def in_json(request: Request) -> None:
    """Answer in JSON. It comes after the choice of a renderer, which failed if there is none."""
    request.accepted_renderer = JSONRenderer()
    request.accepted_media_type = JSONRenderer.media_type


class SchemaView(SpectacularAPIView):
    """The schema, for decimals that are numbers or texts (`?decimals=string`).

    Its errors are JSON, as those of the others.
    """

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if response.status_code >= 400:
            in_json(request)
        return super().finalize_response(request, response, *args, **kwargs)

    def _get_schema_response(self, request: Request) -> Response:
        as_text = decimals.as_text(request)
        form = ".decimals-as-text" if as_text else ""
        suffix = request.accepted_renderer.format
        return Response(
            schema(as_text),
            headers={"Content-Disposition": f'inline; filename="pricebook{form}.{suffix}"'},
        )


class DocsView(SpectacularSwaggerSplitView):
    """The page of Swagger, and its script (`?script=`), as its content policy forbids one in it.

    All else that is asked of it (OPTIONS, errors) is answered in JSON.
    """

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        if response.template_name is None:
            in_json(request)
        finalized: Response = super().finalize_response(request, response, *args, **kwargs)
        return finalized


class UnknownPath(APIView):
    """Answers any unknown path below /api/. It needs no key, because it has nothing to show."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotFound(
            _("There is nothing at this path; /api/docs/ shows what there is."), "unknown_path"
        )
