"""Pages as a person has them: opened now, filled in and sent later."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client


class OpenedForm(HTMLParser):
    """The form of a page, with the values of its fields, hidden ones too."""

    def __init__(self, browser: Client, url: str) -> None:
        super().__init__()
        self.browser, self.url = browser, url
        self.fields: dict[str, Any] = {}
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
            if ticked:
                self.put(name, attributes.get("value") or "", attributes.get("type") or "")

    def put(self, name: str, value: str, type: str) -> None:
        """A value; a list of several boxes, and of what was ticked when the page was opened."""
        if name in self.fields and type in ("checkbox", "hidden"):
            before = self.fields[name]
            self.fields[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            self.fields[name] = value

    def send(self, **changes: Any) -> Any:
        """Save with these fields changed, and say yes to a question; the page that follows."""
        answer = self.ask(**changes)
        if answer.context and "confirmed" in answer.context:
            name, seen = answer.context["confirmed"]
            answer = self.browser.post(self.url, {**self.fields, name: seen}, follow=True)
        return answer

    def ask(self, **changes: Any) -> Any:
        """Save with these fields changed; the page that follows, which may be a question."""
        self.fields |= {
            name: value if isinstance(value, list) else str(value)
            for name, value in changes.items()
        }
        return self.browser.post(self.url, self.fields, follow=True)


def errors_of(response: Any) -> dict[str, list[str]]:
    """The errors that a form shows, by field."""
    return dict(response.context["adminform"].form.errors)
