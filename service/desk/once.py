"""A form that is sent twice (a double click, Back, a second send) has its effect once."""

from __future__ import annotations

import json
from hashlib import sha256
from secrets import token_urlsafe
from typing import cast

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.request import Request

from pricebook.kit.access import identity
from pricebook.kit.idempotency import SHAPE, Sent, sent_once

TOKEN = "_token"  # noqa: S105 - the name of a field
NO_CONTENT = (TOKEN, "csrfmiddlewaretoken")
LONGEST_TOKEN = 60


def new_token() -> str:
    """The token of a form that is shown."""
    return token_urlsafe(16)


def sent_form(request: HttpRequest) -> Sent | None:
    """The form that was sent, in the transaction of its effect; None without a token of ours."""
    token = request.POST.get(TOKEN, "")
    if len(token) > LONGEST_TOKEN or not SHAPE.fullmatch(token):
        return None
    content = sorted(each for each in request.POST.lists() if each[0] not in NO_CONTENT)
    digest = sha256(json.dumps(content).encode()).hexdigest()
    return sent_once(identity(cast(Request, request)), token, digest)


def say_done_before(request: HttpRequest, differs: bool) -> None:
    """`differs`: what was sent first had another content."""
    if differs:
        said = _(
            "This form was sent before, with other values: those were taken, and this is what they"
            " have led to. The values that you have sent now were not: open the form anew."
        )
        messages.warning(request, said)
    else:
        messages.info(request, _("That was done already, and was not done a second time."))
