from django.http import Http404, HttpRequest, HttpResponse


def not_yet(request: HttpRequest, **about: object) -> HttpResponse:
    raise Http404
