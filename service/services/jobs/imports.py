"""Files that `import_book` has read, recorded as jobs: which file, when, and what became of it.

An import is one transaction and needs no worker, so its job is done from the beginning. It has no
results of lines.
"""

from __future__ import annotations

import io
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from services.models import Job, book_clock
from services.transfer.importing import Imported, import_book
from services.transfer.moved_prices import AUTHOR

PIECE = 65_536  # bytes


class WholeFile(io.RawIOBase):
    """A file that is read from its beginning to its end, with its SHA-256 and its size so far."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.sha256 = sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int | None:
        read = self._file.readinto(buffer)
        self.sha256.update(memoryview(buffer)[: read or 0])
        self.size += read or 0
        return read

    def close(self) -> None:
        self._file.close()
        super().close()

    def read_on(self) -> None:
        """Read what nobody has read, behind the end of a compressed file."""
        while self.read(PIECE):
            pass


def import_recorded(
    opened: io.BufferedIOBase, file: WholeFile, **options: Any
) -> tuple[Imported, Job | None]:
    """Import a file, and record that in the same transaction; also return its last import before.

    `opened` is what the import reads, uncompressed; `file` is what that reads.
    """
    earlier: list[Job] = []
    record = partial(_record, file, book_clock(), earlier)
    imported = import_book(opened, record=record, **options)
    return imported, earlier[0] if earlier else None


def _record(file: WholeFile, began: datetime, earlier: list[Job], imported: Imported) -> None:
    file.read_on()
    digest = file.sha256.hexdigest()
    earlier.extend(Job.objects.filter(kind=Job.Kind.IMPORT, sha256=digest).order_by("-id")[:1])
    counts = {
        "created": imported.subscriptions_new,
        "changed": imported.subscriptions_changed,
        "unchanged": imported.subscriptions_same,
    }
    lines = sum(counts.values())
    Job.objects.create(
        kind=Job.Kind.IMPORT,
        author=AUTHOR,
        skip=False,
        dry_run=False,
        media_type="text/csv",
        sha256=digest,
        size=file.size,
        status=Job.Status.DONE,
        started_at=began,
        finished_at=book_clock(),
        lines=lines,
        lines_done=lines,
        counts={outcome: number for outcome, number in counts.items() if number},
    )
