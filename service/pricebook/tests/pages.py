"""Pages as a person has them: opened now, filled in and sent later."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client


class OpenedForm(HTMLParser):
    """The form of a page, with the values of its fields, hidden ones too."""

    def __init__(self, browser: Client, url: str) -> None:
        super().__init__()
        self.browser, self.url = browser, url
        self.fields: dict[str, str] = {}
        self._select = ""
        response = browser.get(url)
        assert response.status_code == 200, response
        self.feed(response.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "select":
            self._select = name
        elif tag == "option" and "selected" in attributes:
            self.fields[self._select] = attributes.get("value") or ""
        elif tag == "input" and name and not name.startswith("_"):
            ticked = attributes.get("type") != "checkbox" or "checked" in attributes
            self.fields |= {name: attributes.get("value") or ""} if ticked else {}

    def send(self, **changes: Any) -> Any:
        """Save with these fields changed; the page that follows."""
        self.fields |= {name: str(value) for name, value in changes.items()}
        return self.browser.post(self.url, self.fields, follow=True)


def errors_of(response: Any) -> dict[str, list[str]]:
    """The errors that a form shows, by field."""
    return dict(response.context["adminform"].form.errors)
