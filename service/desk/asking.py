"""A form that moves prices asks before it does: a form, its question, and what was done.

    GET              the form; without fields, the question at once
    POST             the question: what it would change, by a look that writes nothing
    POST, confirmed  it is done if it would still change just that, and once for each question

The question's button sends the form again, with a fingerprint of what was shown and a token. If the
same token comes a second time (a double click, Back, a second tab), it leads to what the first one
has led to; if the book has moved meanwhile, the question is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from desk.once import TOKEN, new_token, say_done_before, sent_form
from desk.page import show
from pricebook.kit.idempotency import Sent
from pricebook.kit.refusal import Refusal

SEEN, CONFIRM, BACK = "_seen", "_confirm", "_back"
OWN = (SEEN, TOKEN, CONFIRM, BACK, "csrfmiddlewaretoken")

Text = str | Promise


@dataclass(frozen=True)
class Figure:
    """A value before and after, as people read it; `difference` may be empty."""

    label: Text
    before: str
    after: str
    difference: str = ""
    falls: bool = False


@dataclass(frozen=True)
class Rows:
    """A table of the question: its headings, and rows whose first cell is a heading."""

    caption: Text
    headings: tuple[Text, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()  # the columns that are amounts


@dataclass(frozen=True)
class Question:
    """The question whether to do something, with what it would change.

    `seen`: the fingerprint of all that was shown, with the version of what it is about. `needs`:
    why it takes another person. Then its button plans it, to wait for one; if nothing can be
    planned in its place (`may_confirm` is False), there is no button.
    """

    says: list[str]
    figures: list[Figure]
    seen: str
    button: Text
    tables: list[Rows] = field(default_factory=list)
    needs: str = ""
    may_confirm: bool = True


@dataclass(frozen=True)
class Done:
    """The result of a form: the sentence that says it back, and the page that shows it."""

    says: str
    address: str
    is_plan: bool = False  # it was planned, and nothing has moved


class Asking:
    """A form that asks before it does something; each page of the desk that moves prices is one."""

    title: Text
    means: Text = ""
    stands: Text = ""  # how it stands now
    keep: str  # the name under which the browser keeps what was typed
    address: str  # of the page behind it, to which Cancel leads
    place: Text  # the name of that page

    def form(self, data: Any = None) -> forms.Form:
        raise NotImplementedError

    def lock(self) -> None:
        """Let nobody move what it is about before the end of the transaction."""
        raise NotImplementedError

    def look(self, given: dict[str, Any]) -> Question:
        """The question, by a look that writes nothing. Raises Refusal."""
        raise NotImplementedError

    def is_seen(self, question: Question, seen: str) -> bool:
        """Whether a question that sends back `seen` has shown what it would change by now."""
        return question.seen == seen

    def do(self, given: dict[str, Any]) -> Done:
        """Do it, in the caller's transaction. Raises Refusal."""
        raise NotImplementedError


def answer(request: HttpRequest, asking: Asking) -> HttpResponse:
    """The page of a form that asks first, and its effect."""
    if request.method != "POST":
        form = asking.form()
        return _form(request, asking, form) if form.fields else _ask(request, asking, {}, form)
    form = asking.form(request.POST)
    if BACK in request.POST or not form.is_valid():
        return _form(request, asking, form)
    if CONFIRM not in request.POST:
        return _ask(request, asking, form.cleaned_data, form)
    try:
        with transaction.atomic():
            done, before = _once(request, asking, form.cleaned_data)
    except _Otherwise as otherwise:
        said = _("Nothing was done: the book has moved since you were asked. Look again.")
        if otherwise.has_no_button:
            said = _("Nothing was done.")
        return _ask(request, asking, form.cleaned_data, form, said)
    except Refusal as refusal:
        return _refused(request, asking, form, refusal)
    if before is not None:
        say_done_before(request, before.differs)
    elif done.is_plan:
        messages.warning(request, done.says, extra_tags=asking.keep)
    else:
        messages.success(request, done.says, extra_tags=asking.keep)
    return HttpResponseRedirect(done.address)


@dataclass
class _Otherwise(Exception):
    """It would change something else than was shown, or nothing that may be confirmed."""

    has_no_button: bool = False


def _once(request: HttpRequest, asking: Asking, given: dict[str, Any]) -> tuple[Done, Sent | None]:
    """Its result; with its first sending, if it was done before."""
    sent = sent_form(request)
    if sent is None:
        raise _Otherwise
    if sent.done is not None:
        return Done("", sent.done), sent
    asking.lock()
    question = asking.look(given)
    if not asking.is_seen(question, request.POST.get(SEEN, "")):
        raise _Otherwise
    if not question.may_confirm:  # a form that was made by hand: it would say that it was done
        raise _Otherwise(has_no_button=True)
    done = asking.do(given)
    sent.has_led_to(done.address)
    return done, None


def _ask(
    request: HttpRequest,
    asking: Asking,
    given: dict[str, Any],
    form: forms.Form,
    moved: str = "",
) -> HttpResponse:
    try:
        with transaction.atomic():
            question = asking.look(given)
            transaction.set_rollback(True)
    except Refusal as refusal:
        return _refused(request, asking, form, refusal)
    posted = [(name, each) for name, values in request.POST.lists() for each in values]
    return show(
        request,
        "asking",
        str(asking.title),
        asking=asking,
        question=question,
        moved=moved,
        has_fields=bool(form.fields),
        posted=[(name, value) for name, value in posted if name not in OWN],
        token=new_token(),
    )


def _refused(
    request: HttpRequest, asking: Asking, form: forms.Form, refusal: Refusal
) -> HttpResponse:
    """The form with the refusal at its field; where it has none, above it."""
    if not form.fields:
        messages.error(request, refusal.detail)
        return HttpResponseRedirect(asking.address)
    name = refusal.about.get("parameter")
    form.add_error(name if name in form.fields else NON_FIELD_ERRORS, refusal.detail)
    return _form(request, asking, form)


def _form(request: HttpRequest, asking: Asking, form: forms.Form) -> HttpResponse:
    return show(request, "asking_form", str(asking.title), asking=asking, form=form)


def fingerprint(*shown: object) -> str:
    """A digest of all that a question has shown."""
    return blake2b(json.dumps(shown, default=str).encode(), digest_size=16).hexdigest()
