"""The tests of the desk. Those in a browser need Playwright: `./pricebook test --browser`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("axe_playwright_python") else ["*_in_browser.py"]
