"""A simulated person at a browser: logs in, sends forms. It needs only the standard library."""

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from pricebook.local.home import Fault

CONFIRMED = "_confirmed"  # the field of a question before a form moves prices


class Person:
    """Reads the API with a key, and fills in the admin's forms as a browser sends them."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.key = key
        self.browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def api(self, query: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/api/subscriptions/{query}",
            headers={"Authorization": f"Api-Key {self.key}"},
        )
        # JSON numbers are read as they are written: a float would not be exact to the cent.
        found: dict[str, Any] = json.loads(self.open(request), parse_float=Decimal)
        return found

    def total(self) -> Decimal:
        return Decimal(self.api("?page_size=1")["total_amount"])

    def log_in(self, user: str, password: str) -> None:
        self.submit("/admin/login/", username=user, password=password)

    def change(self, model: str, name: str, **fields: object) -> None:
        """Find a record in the admin's list, open its form, change fields, save."""
        path = f"/admin/services/{model}/"
        links = Links(self.open(self.address + path + "?" + urllib.parse.urlencode({"q": name})))
        found = [link for link in links.hrefs if link.partition("?")[0].endswith("/change/")]
        if not found:
            raise Fault(f"the admin's list of {model}s shows no {name}")
        self.submit(found[0].partition("?")[0], **fields)

    def submit(self, path: str, **fields: object) -> None:
        """Fill in the form of a page and send it; say yes if it asks whether to move prices."""
        form = Form(self.open(self.address + path), having=next(iter(fields)))
        answer = self.send(path, form.data | {name: str(value) for name, value in fields.items()})
        if f'name="{CONFIRMED}"' in answer:
            answer = self.send(path, Form(answer, having=CONFIRMED).data)
        if errors := Errors(answer).text:
            raise Fault(f"the form at {path} was not taken: {errors}")

    def send(self, path: str, data: dict[str, str]) -> str:
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.address + path,
            data=urllib.parse.urlencode(data).encode(),
            headers={"Referer": self.address + path},
        )
        return self.open(request)

    def open(self, request: str | urllib.request.Request) -> str:
        url = request if isinstance(request, str) else request.full_url
        try:
            with self.browser.open(request, timeout=60) as response:
                text: str = response.read().decode()
                return text
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            raise Fault(f"{url} answered {error.code}: {said}") from None


class Form(HTMLParser):
    """The fields of the form that has the field `having`, as a browser would send them."""

    def __init__(self, html: str, having: str) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.select = self.textarea = ""
        self.feed(html)
        self.data = next((form for form in self.forms if having in form), {})
        if not self.data:
            raise Fault(f"the page has no form with a field {having}")

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in pairs}
        name, value = attributes.get("name", ""), attributes.get("value", "")
        if tag == "form":
            self.forms.append({})
        elif not self.forms:
            return
        elif tag == "input" and name:
            kind = attributes.get("type", "text")
            checkable = kind in ("checkbox", "radio")
            if kind not in ("submit", "button", "file") and (
                not checkable or "checked" in attributes
            ):
                self.forms[-1][name] = value or ("on" if checkable else "")
        elif tag == "select" and name:
            self.select = name
        elif tag == "option" and self.select and "selected" in attributes:
            self.forms[-1][self.select] = value
        elif tag == "textarea" and name:
            self.textarea = name
            self.forms[-1][name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = ""
        elif tag == "textarea":
            self.textarea = ""

    def handle_data(self, text: str) -> None:
        if self.textarea:
            self.forms[-1][self.textarea] += text


class Links(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (href := dict(pairs).get("href")):
            self.hrefs.append(href)


class Errors(HTMLParser):
    """The text of a page's lists of errors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inside = False
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or "errorlist" in (dict(pairs).get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "ul"

    def handle_data(self, text: str) -> None:
        if self.inside:
            self.text = f"{self.text} {text.strip()}".strip()
