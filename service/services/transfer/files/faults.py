"""Files that are no table: what a file is by its first bytes, and how to save it instead."""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO, NoReturn

from django.utils.translation import pgettext, pgettext_lazy

from services.transfer.csv_file import BadBook, Problem

SAVE = pgettext_lazy("file", "open it in the spreadsheet and save it as .xlsx or as CSV UTF-8")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
HTML = re.compile(rb"<(!doctype\s+html|html|head|body|table|meta|style|div)\b", re.IGNORECASE)
XML = re.compile(rb"<\?xml|<[A-Za-z]+:?Workbook\b|<Workbook\b")
# Kinds of zip archives, by the names in them.
ARCHIVES = {
    "xl/workbook.bin": pgettext_lazy("file", "is a binary workbook (.xlsb)"),
    "content.xml": pgettext_lazy("file", "is a spreadsheet of OpenDocument (.ods)"),
    "Index/Document.iwa": pgettext_lazy("file", "is a spreadsheet of Numbers"),
    "word/document.xml": pgettext_lazy("file", "is a text document (.docx), and no table"),
    "ppt/presentation.xml": pgettext_lazy("file", "is a presentation (.pptx), and no table"),
}
BEGINNINGS = {
    b"%PDF": pgettext_lazy(
        "file", "is a PDF, which has no cells to read; export a table from where it comes from"
    ),
    b"PK\x05\x06": pgettext_lazy("file", "is an empty archive"),
    b"BZh": pgettext_lazy("file", "is compressed with bzip2; unpack it, or compress it with gzip"),
    b"\xfd7zXZ\x00": pgettext_lazy(
        "file", "is compressed with xz; unpack it, or compress it with gzip"
    ),
    b"\x28\xb5\x2f\xfd": pgettext_lazy(
        "file", "is compressed with zstd; unpack it, or compress it with gzip"
    ),
    b"7z\xbc\xaf": pgettext_lazy("file", "is an archive (7z); unpack it"),
    b"Rar!": pgettext_lazy("file", "is an archive (rar); unpack it"),
    b"\x89PNG": pgettext_lazy("file", "is a picture, and no table"),
    b"\xff\xd8\xff": pgettext_lazy("file", "is a picture, and no table"),
    b"PAR1": pgettext_lazy("file", "is a Parquet file; write it as CSV"),
    b"ARROW1": pgettext_lazy("file", "is an Arrow file; write it as CSV"),
    b"SQLite format 3": pgettext_lazy(
        "file", "is a database of SQLite; write a table of it as CSV"
    ),
    b"\xff\xfe\x00\x00": pgettext_lazy("file", "is in UTF-32; save it as CSV UTF-8"),
    b"\x00\x00\xfe\xff": pgettext_lazy("file", "is in UTF-32; save it as CSV UTF-8"),
    b"{": pgettext_lazy(
        "file", "is JSON; /api/subscriptions/bulk/ takes that, and a file is a table"
    ),
    b"[": pgettext_lazy(
        "file", "is JSON; /api/subscriptions/bulk/ takes that, and a file is a table"
    ),
}


def refuse(reason: str, code: str = "wrong_format", answers: tuple[str, ...] = ()) -> NoReturn:
    """Raise BadBook with one problem, of the whole file."""
    problems = BadBook()
    problems.add(Problem(0, "", "", reason, "", code, answers))
    raise problems


def refuse_what_is_no_table(head: bytes, file: BinaryIO) -> None:
    """Raise BadBook if the file is of a kind that has no rows to read. `head` are its first bytes.

    A zip archive is looked at later, by its members.
    """
    if head.startswith(OLE):
        file.seek(0)
        # The name stands in a directory somewhere in the file.
        if _has(file, ENCRYPTED):
            refuse(
                pgettext(
                    "file",
                    "is a workbook with a password; open it, take the password away and save it",
                ),
                "encrypted",
            )
        refuse(
            pgettext(
                "file", "is a workbook of Excel 97-2003 (.xls), or another old document; %(save)s"
            )
            % {"save": SAVE}
        )
    for beginning, reason in BEGINNINGS.items():
        if head.startswith(beginning):
            refuse(str(reason))
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if HTML.match(text) or (XML.match(text) and HTML.search(text[:2000])):
        refuse(
            pgettext("file", "is a web page (HTML) that calls itself a spreadsheet; %(save)s")
            % {"save": SAVE}
        )
    if XML.match(text):
        refuse(
            pgettext("file", "is XML, and no table; if it is a spreadsheet (XML 2003), %(save)s")
            % {"save": SAVE}
        )


def refuse_archive(archive: zipfile.ZipFile) -> NoReturn:
    """Raise BadBook for a zip archive without a workbook in it."""
    names = set(archive.namelist())
    for name, reason in ARCHIVES.items():
        if name in names:
            refuse(f"{reason}; {SAVE}")
    refuse(pgettext("file", "is an archive (zip) without a workbook in it; unpack it"))


def _has(file: BinaryIO, word: bytes) -> bool:
    tail = b""
    while piece := file.read(1 << 20):
        if word in tail + piece:
            return True
        tail = piece[-len(word) :]
    return False
