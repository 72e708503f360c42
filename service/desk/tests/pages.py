"""The text of a page, as a reader sees it."""

import html
import re


def text_of(page: str) -> str:
    """The content of a page's body without its tags, blanks made one."""
    body = page.partition("<body")[2] or page
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", body))).strip()
