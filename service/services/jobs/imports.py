"""Files that are read into the book, recorded as jobs: which file, when, and what became of it.

    import_book           `import_recorded`: the job is done from the beginning
    POST /api/imports/    a job as others; a worker gives its body to `run`

Either way the job, the results of its lines and the effect are one transaction.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import IO, Any

import msgspec
from django.db import connection

from pricebook.kit.refusal import Refusal
from pricebook.kit.spooled_body import temporary_file
from services.jobs import import_results
from services.models import Job, JobResult, book_clock
from services.transfer.csv_file import BadBook
from services.transfer.importing import Imported, import_book
from services.transfer.moved_prices import AUTHOR

PIECE = 65_536  # bytes
GZIP = b"\x1f\x8b"
MOST_UNPACKED = 1_000_000_000  # bytes of a compressed file, which is sent by anybody with a key


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


def storable(value: str) -> str:
    """The beginning of a value, without what no database can store."""
    return value[:100].encode(errors="replace").decode().replace("\0", "?")


class FileRefused(Refusal):
    """A file that can't be read into the book; nothing of it was written."""

    @classmethod
    def of(cls, bad: BadBook) -> FileRefused:
        """`problems` are the first ones, each with its place, its value and what is allowed."""
        places = "1 place is" if bad.count == 1 else f"{bad.count:,} places are"
        return cls(
            "file_refused",
            f"Nothing was written, because {places} wrong. The first one: {bad.problems[0]}",
            refused=bad.count,
            problems=[asdict(each) | {"value": storable(each.value)} for each in bad.problems],
        )

    @classmethod
    def damaged(cls, error: Exception) -> FileRefused:
        return cls("file_damaged", f"The file is damaged ({error}): nothing was written.")


class Unpacked(gzip.GzipFile):
    """A compressed file being read, up to MOST_UNPACKED bytes."""

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._left = MOST_UNPACKED

    def readinto(self, buffer: Any) -> int:
        found = super().readinto(buffer)
        self._count(found)
        return found

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self._count(len(found))
        return found

    def readline(self, size: int | None = -1) -> bytes:
        found = super().readline(size)
        self._count(len(found))
        return found

    def _count(self, bytes: int) -> None:
        self._left -= bytes
        if self._left < 0:
            raise FileRefused(
                "file_too_long",
                f"Unpacked it has more than {MOST_UNPACKED:,} bytes: send it in parts.",
                413,
            )


@contextmanager
def uncompressed(file: Any) -> Iterator[Any]:
    """The file as it is read; FileRefused where it is damaged."""
    begins = file.read(2)
    file.seek(0)
    try:
        yield Unpacked(file) if begins == GZIP else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileRefused.damaged(error) from None


def run(job: Job, body: IO[bytes]) -> dict[str, Any]:
    """Read the body of a job into the book, in the caller's transaction, with the results of its
    lines; return what is to be saved of the job.

    FileRefused for a file that can't be read; raises as `import_book` does.
    """
    options = job.options or {}
    with temporary_file() as parts, uncompressed(body) as opened:
        try:
            imported = import_book(
                opened,
                update=options.get("update", False),
                dry_run=job.dry_run,
                author=job.author,
                record=lambda imported: _keep(job.pk),
                look=partial(_look, parts) if job.dry_run else lambda cursor, imported: None,
            )
        except BadBook as bad:
            raise FileRefused.of(bad) from None
        _keep_shown(job, parts)
    return _outcome(imported)


def _keep(job: int) -> None:
    with connection.cursor() as cursor:
        import_results.keep(cursor, job)


def _look(parts: IO[bytes], cursor: Any, imported: Imported) -> None:
    """Write the results aside: what the transaction has written by now is undone."""
    for part in import_results.look(cursor):
        parts.write(msgspec.json.encode(part._asdict()) + b"\n")


def _keep_shown(job: Job, parts: IO[bytes]) -> None:
    """Keep the results of a dry run. A query for each 2,000 lines."""
    parts.seek(0)
    for line in parts:
        JobResult.objects.create(job=job, **msgspec.json.decode(line))


def _outcome(imported: Imported) -> dict[str, Any]:
    counts = {
        "created": imported.subscriptions_new,
        "changed": imported.subscriptions_changed,
        "unchanged": imported.subscriptions_same,
    }
    lines = sum(counts.values())
    counts = {outcome: number for outcome, number in counts.items() if number}
    return {"lines": lines, "lines_done": lines, "counts": counts}


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
    job = Job.objects.create(
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
        **_outcome(imported),
    )
    _keep(job.pk)
