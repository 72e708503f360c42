"""Packages that only `./pricebook test --browser` installs are not imported without it."""

from importlib.util import find_spec

BROWSER = find_spec("axe_playwright_python")
collect_ignore_glob = [] if BROWSER else ["test_*_in_browser.py"]
