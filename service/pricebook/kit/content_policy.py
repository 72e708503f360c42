"""The header Content-Security-Policy: what a browser may load and run on our pages.

    what                      policy
    JSON, text, files         nothing at all
    pages                     scripts, styles, images and requests of this site, none of them inline
    /api/ as a page, Swagger  beside that, styles within the page and images within its styles
    /admin/                   beside that, `eval`, with which Unfold's Alpine computes

No page runs a script that stands in the page.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
NEVER = {"base-uri": "'none'", "frame-ancestors": "'none'"}
NOTHING = {"default-src": "'none'", "form-action": "'none'", **NEVER}
PAGE = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    **NEVER,
}
INLINE_STYLES = PAGE | {"style-src": "'self' 'unsafe-inline'", "img-src": "'self' data:"}
ALPINE = INLINE_STYLES | {"script-src": "'self' 'unsafe-eval'"}
# The first that a path begins with.
OF_PAGES = {"/admin/": ALPINE, "/api/": INLINE_STYLES, "/": PAGE}


def policy_of(path: str, content_type: str) -> dict[str, str]:
    if not content_type.startswith("text/html"):
        return NOTHING
    return next(policy for start, policy in OF_PAGES.items() if path.startswith(start))


class ContentPolicyMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if settings.DEBUG and response.status_code in (404, 500):
            return response  # Django's pages for developers, which have all within them
        policy = policy_of(request.path, response.get("Content-Type", ""))
        response.headers.setdefault(HEADER, "; ".join(f"{k} {v}" for k, v in policy.items()))
        return response
