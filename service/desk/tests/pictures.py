"""Take the pictures of docs/images/desk/ again, from a demo that is served.

    ./pricebook demo --serve                       # prints its address and who may log in
    ./pricebook test --browser --co -q >/dev/null  # installs what drives Chromium
    .pricebook/venv/bin/python service/desk/tests/pictures.py http://127.0.0.1:8000 admin PASSWORD

Its ids are found as a person finds them, by links, so that any demo will do.
"""

import io
import re
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import FilePayload, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ROOT / "docs" / "images" / "desk"
SHOWN = re.compile(r"images/desk/([a-z-]+)\.png\)")
# Texts that are ours, and no data.
WORDS = (
    "main :is(h2, dt, label, button, summary, caption), main :not(figure) > .wide > table thead th"
)
MOST = 150_000  # bytes of one
COLOURS = 64
MONTH = (date.today().replace(day=1) - timedelta(days=1)).replace(day=1)
PAGES = {
    "home": "/",
    "search": "/desk/search/?q=streaming",
    "client": "/desk/clients/1/",
    "subscription": "/desk/subscriptions/1/",
    "service": "/desk/services/",
    "change-preview": "/desk/changes/",
    "bridge": f"/desk/then/bridge/?from={MONTH}",
    "import": "/desk/files/",
    "then": "/desk/then/",
    "changes": "/desk/changes/",
    "notices": "/desk/changes/",
}
# New clients, an old service and a new one.
LINES = """company_name,email,service,full_price,plan_type,discount_percent,started_at
Nordwind AG,info@nordwind.example,Phone,22,full,0,2026-01-01
Südwind GmbH,post@suedwind.example,Phone,22,discount,10,2026-02-01
Südwind GmbH,post@suedwind.example,Fax,4.50,full,0,2026-02-01
"""


class Way(NamedTuple):
    locale: str = "en-US"
    width: int = 1360
    scheme: Literal["light", "dark"] = "light"


WAYS = {
    "": Way(),
    "-dark": Way(scheme="dark"),
    "-narrow": Way(width=390),
    "-ru": Way(locale="ru-RU"),
}


def taken(page: Page, name: str, way: Way) -> None:
    """Take a picture. Its page says that it is in the language of the way, and its text is."""
    page.wait_for_timeout(300)  # for charts and live parts
    language = way.locale[:2]
    if page.locator("html").get_attribute("lang") != language:
        raise SystemExit(f"{page.url} is not in the language {language}")
    for words in page.locator(WORDS).all_inner_texts():
        is_russian = re.search("[а-яё]", words.lower()) is not None
        if re.search("[^\\W\\d_]", words) and is_russian != (language == "ru"):
            raise SystemExit(f"“{words}” of {page.url} is not in the language {language}")
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = PICTURES / f"{name}.png"
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{size:>8,} {path.name}")
    if size > MOST:
        raise SystemExit(f"{path} is larger than {MOST:,} bytes")


def went(page: Page, address: str, name: str) -> None:
    """Go to the page of this name, also by links or a file where its address has an id."""
    size = page.viewport_size
    assert size is not None
    height = 1640 if name == "home" else 1240  # home ends with its chart
    page.set_viewport_size({"width": size["width"], "height": height})
    page.goto(address + PAGES[name])
    if name == "service":
        page.get_by_role("main").get_by_role("link", name="Phone").first.click()
    elif name == "change-preview":
        page.get_by_role("main").get_by_role("link", name="DSL: 4 %").first.click()
    elif name == "notices":
        page.get_by_role("main").get_by_role("link", name="DSL: 4 %").first.click()
        clients = page.get_by_role("main").get_by_role("link", name="Clients to tell", exact=True)
        page.goto(address + str(clients.first.get_attribute("href")))
        if not page.get_by_text("by hand").count():
            for row in range(3):
                page.get_by_role("main").get_by_role("checkbox").nth(row).check()
            page.get_by_role("button", name="Ticked ones were told", exact=True).click()
    elif name == "import":
        file = FilePayload(name="new.csv", mimeType="text/csv", buffer=LINES.encode())
        page.get_by_label("File", exact=True).set_input_files(file)
        page.get_by_role("button", name="Look at it", exact=True).click()
        page.locator("#job:not([data-live])").wait_for()


def pictures_named() -> set[str]:
    """The names of all pictures of the desk that README and docs show."""
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return {name for text in texts for name in SHOWN.findall(text.read_text())}


def main(address: str, user: str, password: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    named = pictures_named()
    if strange := named - {f"{name}{suffix}" for suffix in WAYS for name in PAGES}:
        raise SystemExit(f"no page is known for {', '.join(sorted(strange))}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for suffix, way in WAYS.items():
            page = browser.new_context(
                viewport={"width": way.width, "height": 1240},
                locale=way.locale,
                color_scheme=way.scheme,
            ).new_page()
            page.goto(f"{address}/desk/log-in/?next=/")
            page.locator("[name=username]").fill(user)
            page.locator("[name=password]").fill(password)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{address}/")
            for name in PAGES:
                if f"{name}{suffix}" in named:
                    went(page, address, name)
                    taken(page, f"{name}{suffix}", way)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
