"""Packages that only `./pricebook test --browser` installs are not imported without it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("axe_playwright_python") else ["*_in_browser.py"]
