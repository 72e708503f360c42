"""Packages that only `./pricebook test --browser` installs are not imported without it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("axe_playwright_python") else ["test_browser.py"]
