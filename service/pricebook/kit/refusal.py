"""A refusal by the module of a subject, in words for people and with a code for programs."""

from typing import Any


class Refusal(Exception):
    """Something can't be done, and nothing was: `detail` has the reason, the value and the fix.

    `status_code` is HTTP's: 400 for input that can't be used, 403 without permission, 404 for what
    does not exist, 409 for what a state does not allow. `about` names what it is about
    (`parameter`, `value`, `allowed`…). The API answers with all of it, commands with the detail.
    """

    def __init__(self, code: str, detail: str, status_code: int = 400, **about: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status_code = status_code
        self.about = about
