"""What a caller of price changes did wrong, in words for people and a code for programs."""

from typing import Any


class ChangeError(Exception):
    """`detail` says what is wrong, with which value, and what to do.

    `status_code` is HTTP's: 400 for input that can't be used, 403 for who may not, 409 for what
    the state of the change or of the book does not allow. `about` names what it is about
    (`parameter`, `value`, `allowed`…).
    """

    def __init__(self, code: str, detail: str, status_code: int = 400, **about: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status_code = status_code
        self.about = about
