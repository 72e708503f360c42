"""The desk's search in the admin's box (Ctrl+K), beside the pages of the admin."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from unfold.dataclasses import SearchResult

from desk.finding.search import LONGEST, search

MOST = 5  # of each kind


def results(request: HttpRequest, words: str) -> list[SearchResult]:
    """The hits of the search, and the way to all of them: so the box is never empty.

    Without figures: Unfold keeps the results for minutes.
    """
    answer = search(request.user, words[:LONGEST], MOST)
    found = [
        SearchResult(hit.title, str(group.label), hit.url, "arrow_forward")
        for group in answer.groups
        for hit in group.hits
    ]
    said = _("All that is found") if found else _("Nothing of this name was found: search again")
    address = f"{reverse('desk:search')}?{urlencode({'q': answer.words})}"
    return [*found, SearchResult(said, _("Search"), address, "search")]
