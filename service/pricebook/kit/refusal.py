"""What a subject's own module refuses, in words for people and a code for programs."""

from typing import Any


class Refusal(Exception):
    """Something can't be done, and nothing was: `detail` says why, with which value, and the mend.

    `status_code` is HTTP's: 400 for input that can't be used, 403 for who may not, 404 for what is
    not there, 409 for what a state does not allow. `about` names what it is about (`parameter`,
    `value`, `allowed`…). The API answers with all of it, commands with the detail.
    """

    def __init__(self, code: str, detail: str, status_code: int = 400, **about: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status_code = status_code
        self.about = about
