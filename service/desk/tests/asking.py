"""Pages of the desk as a person has them: read, and their questions answered."""

import re
from html import unescape
from typing import Any

from django.test import Client


def text_of(response: Any) -> str:
    """The text of a page's content, without its marks."""
    html = response.content.decode()
    main = html[html.index("<main") : html.index("</main>")]
    return " ".join(unescape(re.sub("<[^>]*>", " ", main)).split())


def answer_of(question: Any) -> dict[str, str]:
    """The fields that the button of a question sends."""
    html = question.content.decode()
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', html)
    return {name: unescape(value) for name, value in found} | {"_confirm": "1"}


def confirmed(browser: Client, url: str, given: dict[str, Any]) -> Any:
    """The answer to a form whose question is confirmed."""
    return browser.post(url, answer_of(browser.post(url, given)))
