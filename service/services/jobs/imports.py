"""Files that are read into the book, recorded as jobs: which file, when, and what became of it.

    import_book           `import_recorded`: the job is done from the beginning
    POST /api/imports/    a job as others; a worker gives its body to `run`

Either way the job, the results of its lines and the effect are one transaction.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import IO, Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pricebook.kit.figures import grouped
from pricebook.kit.refusal import Refusal
from pricebook.kit.spooled_body import temporary_file
from services.jobs import import_results, looks
from services.models import Job, JobResult, book_clock
from services.moves import Move
from services.past.importing import COLUMNS as HISTORY
from services.past.importing import Brought, import_history
from services.reading.total import figures
from services.transfer.csv_file import BadBook, Problem
from services.transfer.files import Reading
from services.transfer.importing import Imported, import_book
from services.transfer.moved_prices import AUTHOR

PIECE = 65_536  # bytes


class WholeFile(io.RawIOBase):
    """A file that is read from its beginning to its end, with its SHA-256 and its size so far."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.sha256 = sha256()
        self.size = 0

    @classmethod
    def at(cls, path: str) -> WholeFile:
        """The file at a path, or standard input for "-"."""
        of = sys.stdin.fileno() if path == "-" else path
        return cls(io.FileIO(of, "rb", closefd=path != "-"))

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


def storable(text: str) -> str:
    """A text without what no database can store."""
    return text.encode(errors="replace").decode().replace("\0", "?")


class FileRefused(Refusal):
    """A file that can't be read into the book; nothing of it was written."""

    @staticmethod
    def of(bad: BadBook) -> FileRefused:
        """`problems` are the first ones, each with its place, its value, what is allowed, and the
        options that settle it, if it is a question."""
        first = bad.problems[0]
        said = storable(str(first))
        whole = bad.count == 1 and not first.line
        if whole:
            why = said[:1].upper() + said[1:]
        else:
            why = ngettext(
                "%(number)s place is wrong. The first one: %(said)s",
                "%(number)s places are wrong. The first one: %(said)s",
                bad.count,
            ) % {"number": grouped(bad.count), "said": said}
        return FileRefused(
            "file_refused",
            _("Nothing was written. %(why)s") % {"why": why},
            refused=bad.count,
            problems=[_told(each) for each in bad.problems],
            understood={name: storable(value) for name, value in bad.understood.items()},
        )


def _told(problem: Problem) -> dict[str, Any]:
    texts = asdict(replace(problem, value=problem.value[:100]))
    texts["answers"] = [storable(each) for each in problem.answers]
    return {
        name: storable(value) if isinstance(value, str) else value for name, value in texts.items()
    }


def run(job: Job, body: IO[bytes]) -> dict[str, Any]:
    """Read the body of a job into the book, in the caller's transaction, with the results of its
    lines; return what is to be saved of the job.

    FileRefused for a file that can't be read; raises as `import_book` and `import_history` do.
    """
    read = _read_history if job.kind == Job.Kind.HISTORY else _read_book
    with temporary_file() as parts:
        try:
            done = read(job, body, parts)
        except BadBook as bad:
            raise FileRefused.of(bad) from None
        _keep_shown(job, parts)
    return done


def _read_book(job: Job, file: Any, parts: IO[bytes]) -> dict[str, Any]:
    options, done = job.options or {}, {}
    before = figures() if job.is_kept else None

    def look(cursor: Any, imported: Imported) -> None:
        _results(cursor, job, parts)
        done.update(_counted(import_results.counts(cursor)))
        if before is not None:
            moved = _moved(imported.moved)
            _refuse_if_it_differs(job, moved)
            done["found"] = {
                "understood": {key: storable(each) for key, each in imported.understood.items()},
                "moved": moved,
                "clients_moved": import_results.clients_moved(cursor, options.get("update", False)),
                "new": {
                    "client": imported.clients_new,
                    "service": imported.services_new,
                    "plan": imported.plans_new,
                },
                "paid": [str(before.paid.amount), str(imported.paid)],
            }

    import_book(
        file,
        reading=Reading.of(options.get("reading") or {}),
        update=options.get("update", False),
        add=options.get("add", False),
        dry_run=job.dry_run,
        author=job.author,
        look=look,
    )
    return done


def _read_history(job: Job, file: Any, parts: IO[bytes]) -> dict[str, Any]:
    def look(cursor: Any, brought: Brought) -> None:
        _results(cursor, job, parts, of_history=True)
        _refuse_if_it_differs(job, _moved(brought.moved))

    brought = import_history(
        file,
        reading=Reading.of((job.options or {}).get("reading") or {}, HISTORY),
        dry_run=job.dry_run,
        author=job.author,
        look=look,
    )
    done = _of_past(brought)
    return done | {"found": {"moved": _moved(brought.moved)}} if job.is_kept else done


def _refuse_if_it_differs(job: Job, moved: dict[str, Any]) -> None:
    if job.applies_id is not None:
        looks.refuse_if_it_differs(job, moved)


def _moved(move: Move) -> dict[str, Any]:
    return {"rows": move.rows, "before": str(move.before), "after": str(move.after)}


def _results(cursor: Any, job: Job, parts: IO[bytes], of_history: bool = False) -> None:
    """Keep the results of the lines. Those of a dry run are written aside: all that the transaction
    has written by now will be undone."""
    if not job.dry_run:
        import_results.keep(cursor, job.pk, of_history, job.is_kept)
        return
    for part in import_results.look(cursor, of_history, job.is_kept):
        parts.write(msgspec.json.encode(part._asdict()) + b"\n")


def _keep_shown(job: Job, parts: IO[bytes]) -> None:
    """Keep the results of a dry run. A query for each 2,000 lines."""
    parts.seek(0)
    for line in parts:
        JobResult.objects.create(job=job, **msgspec.json.decode(line))


def _of_past(brought: Brought) -> dict[str, Any]:
    unchanged = brought.lines - brought.corrected
    return _counted({"changed": brought.corrected, "unchanged": unchanged})


def _counted(counts: dict[str, int]) -> dict[str, Any]:
    lines = sum(counts.values())
    found = {outcome: number for outcome, number in counts.items() if number}
    return {"lines": lines, "lines_done": lines, "counts": found}


# --- By a command --------------------------------------------------------------------------------


def import_recorded(
    opened: io.BufferedIOBase,
    file: WholeFile,
    *,
    dry_run: bool = False,
    look: Callable[[Any, Imported], None] = lambda cursor, imported: None,
    **options: Any,
) -> tuple[Imported, Job | None]:
    """Import a file, and record that in the same transaction; also return its last import before.

    `opened` is what the import reads; `file` is what that reads.
    """
    record = _Record(Job.Kind.IMPORT, AUTHOR, file)

    def recorded(cursor: Any, imported: Imported) -> None:
        look(cursor, imported)
        if not dry_run:
            job = record.made()
            import_results.keep(cursor, job.pk)
            record.ends(_counted(import_results.counts(cursor)))

    imported = import_book(opened, dry_run=dry_run, look=recorded, **options)
    return imported, record.earlier


def history_recorded(
    opened: io.BufferedIOBase, file: WholeFile, *, dry_run: bool, author: str, **options: Any
) -> tuple[Brought, Job | None]:
    """The same for a file of the past."""
    record = _Record(Job.Kind.HISTORY, author, file)

    def look(cursor: Any, brought: Brought) -> None:
        if not dry_run:
            import_results.keep(cursor, record.made().pk, of_history=True)
            record.ends(_of_past(brought))

    brought = import_history(opened, dry_run=dry_run, author=author, look=look, **options)
    return brought, record.earlier


class _Record:
    """The job of a file that a command reads, in the transaction of its effect."""

    def __init__(self, kind: Job.Kind, author: str, file: WholeFile) -> None:
        self.kind, self.author, self.file, self.began = kind, author, file, book_clock()
        self.earlier: Job | None = None

    def made(self) -> Job:
        self.file.read_on()
        digest = self.file.sha256.hexdigest()
        same = Job.objects.filter(kind=self.kind, sha256=digest, status=Job.Status.DONE)
        self.earlier = same.filter(dry_run=False, undoes=None).order_by("-id").first()
        self.job: Job = Job.objects.create(
            kind=self.kind,
            author=self.author,
            skip=False,
            dry_run=False,
            media_type="text/csv",
            sha256=digest,
            size=self.file.size,
            status=Job.Status.DONE,
            started_at=self.began,
            finished_at=book_clock(),
        )
        return self.job

    def ends(self, done: dict[str, Any]) -> None:
        Job.objects.filter(pk=self.job.pk).update(**done)
