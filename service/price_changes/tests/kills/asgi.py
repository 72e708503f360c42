"""The application of the web server in a round: the project's own, with an ambush in it."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from price_changes.tests.kills.victims import Ambush, waiting_at_points
from pricebook.asgi import behind_front
from pricebook.kit import points
from pricebook.local.home import Home
from pricebook.wsgi import application as pricebook

points.POINT = waiting_at_points(f"web {os.getpid()}", Ambush(Home.from_environment().run))


def with_ambush(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    answer: Iterable[bytes] = pricebook(environ, start_response)
    if environ["REQUEST_METHOD"] == "POST":
        points.at_point("answer not sent")
    return answer


application = behind_front(with_ambush)
