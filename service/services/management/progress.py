"""The progress of a long command: a line that is rewritten on a terminal, else one every 5 s."""

import time
from typing import IO, Any

from django.utils.translation import gettext as _

from pricebook.kit.figures import grouped


class ProgressLine:
    """Writes rows, rows a second and the time left to `stream` (standard error, as a rule).

    If the number of rows is not known beforehand, it is estimated from `file`, which is being read:
    the share of its bytes that has been read stands for the share of the rows.
    """

    def __init__(self, stream: Any, file: IO[bytes] | None = None) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._file = file
        self._size = _size(file) if file else 0
        self._what = ""
        self._began = self._said = time.monotonic()

    def __call__(self, what: str, done: int, expected: int | None = None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began = what, now
            self._said = 0.0 if self._terminal else now
        if now - self._said < (0.1 if self._terminal else 5.0):
            return
        self._said = now
        rate = done / (now - self._began) if now > self._began else 0
        if expected is None and self._size and self._file and done:
            expected = round(done * self._size / max(1, self._file.tell()))
        line = f"{what}…"
        if done:
            said = {"what": what, "rows": grouped(done), "rate": grouped(rate)}
            line = _("%(what)s %(rows)s rows, %(rate)s rows/s") % said
        if expected and rate:
            part = min(1.0, done / expected)
            left = max(0.0, expected - done) / rate
            bar = f"[{'#' * round(20 * part):.<20}] " if self._terminal else ""
            line = bar + _("%(line)s, %(part)s, %(seconds)s s left") % {
                "line": line,
                "part": f"{part:.0%}",
                "seconds": grouped(left),
            }
        if self._terminal:
            self._stream.write(f"\r\x1b[K{line}", ending="")
            self._stream.flush()
        else:
            self._stream.write(line)

    def end(self) -> None:
        """Leave a clean line behind."""
        if self._terminal:
            self._stream.write("\r\x1b[K", ending="")
            self._stream.flush()


def _size(file: IO[bytes]) -> int:
    """The size of a file in bytes; 0 for a pipe, whose size is unknown."""
    if not file.seekable():
        return 0
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    return size
