"""Take the pictures of docs/images/desk/ again, from a demo that is served.

    ./pricebook demo --serve                       # prints its address and who may log in
    ./pricebook test --browser --co -q >/dev/null  # installs what drives Chromium
    .pricebook/venv/bin/python service/desk/tests/pictures.py http://127.0.0.1:8000 admin PASSWORD

Its ids are found as a person finds them, by links, so that any demo will do.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "images" / "desk"
MOST = 150_000  # bytes of one
COLOURS = 64
CLIENT = "/desk/clients/1/"
SUBSCRIPTION = "/desk/subscriptions/1/"
PAGES = {
    "home": "/",
    "search": "/desk/search/?q=strea",
    "client": CLIENT,
    "subscription": SUBSCRIPTION,
    "service": "/desk/services/",
    "change-preview": "/desk/changes/",
    "bridge": "/desk/then/bridge/",
    "import": "/desk/files/",
    "then": "/desk/then/",
    "changes": "/desk/changes/",
}
# One line moves a price, one adds a subscription, and one is wrong.
LINES = """company_name,email,service,full_price,plan_type,discount_percent,started_at
Nordwind AG,info@nordwind.example,Phone,20,full,0,2026-01-01
Südwind GmbH,post@suedwind.example,Phone,20,full,0,2026-02-01
Ostwind KG,kontor@ostwind.example,Phone,20,full,101,2026-02-01
"""
WAYS = {
    "": {"locale": "en-US", "width": 1360},
    "-dark": {"locale": "en-US", "width": 1360, "color_scheme": "dark"},
    "-narrow": {"locale": "en-US", "width": 390},
    "-ru": {"locale": "ru-RU", "width": 1360},
}


def taken(page: Page, name: str) -> None:
    page.wait_for_timeout(300)  # for charts and live parts
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = PICTURES / f"{name}.png"
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{size:>8,} {path.name}")
    if size > MOST:
        raise SystemExit(f"{path} is larger than {MOST:,} bytes")


def went(page: Page, address: str, name: str) -> None:
    """Go to the page of this name, also by links or a file where its address has an id."""
    page.goto(address + PAGES[name])
    if name == "service":
        page.get_by_role("main").get_by_role("link", name="Phone").first.click()
    elif name == "change-preview":
        page.get_by_role("main").get_by_role("link", name="DSL: 4 %").first.click()
    elif name == "import":
        file = {"name": "new.csv", "mimeType": "text/csv", "buffer": LINES.encode()}
        page.get_by_label("File", exact=True).set_input_files(file)
        page.get_by_role("button", name="Look at it", exact=True).click()
        page.locator("#job:not([data-live])").wait_for()


def main(address: str, user: str, password: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for suffix, way in WAYS.items():
            options = {"viewport": {"width": way["width"], "height": 860}, **way}
            options.pop("width")
            page = browser.new_context(**options).new_page()
            page.goto(f"{address}/desk/log-in/?next=/")
            page.locator("[name=username]").fill(user)
            page.locator("[name=password]").fill(password)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{address}/")
            for name in PAGES if not suffix else ("home", "client"):
                went(page, address, name)
                taken(page, f"{name}{suffix}")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
