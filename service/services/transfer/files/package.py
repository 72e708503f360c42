"""The package that a workbook is: a zip archive of XML, opened in bounds, and its parts."""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, cast

from django.utils.translation import pgettext

from pricebook.kit.figures import grouped
from services.transfer.files import limits
from services.transfer.files.cells import Styles
from services.transfer.files.faults import SAVE, refuse, refuse_archive
from services.transfer.files.number_formats import BUILT_IN
from services.transfer.files.sheet import unescaped
from services.transfer.files.xml import events, local

WORKBOOKS = ("xl/workbook.xml",)
DIRECTORY_END = b"PK\x05\x06"
ZIP64_LOCATOR = b"PK\x06\x07"
LONGEST_END = 22 + 65_535
# `zipfile` raises NotImplementedError for a compression that it does not know, and RuntimeError for
# a member with a password.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class SheetName(NamedTuple):
    name: str
    part: str
    hidden: bool


class Package:
    """A workbook that is open: `sheets`, `styles`, and `strings` when a sheet is read. BadBook."""

    def __init__(self, file: BinaryIO) -> None:
        _check_directory(file)
        try:
            self.archive = zipfile.ZipFile(file)
        except DAMAGED as error:
            refuse(
                pgettext("file", "is a damaged archive (%(error)s); send it again")
                % {"error": error},
                "damaged",
            )
        self._check_members()
        names = {name.lower(): name for name in self.archive.namelist()}
        if "[content_types].xml" not in names or not any(each in names for each in WORKBOOKS):
            refuse_archive(self.archive)
        self._names = names
        lower = list(names)
        if any(name.endswith("vbaproject.bin") or "/macrosheets/" in name for name in lower):
            refuse(pgettext("file", "has macros; save it as .xlsx, which has none"), "macros")
        if any("/externallinks/" in name for name in lower):
            refuse(
                pgettext(
                    "file",
                    "has links to other workbooks; open it, replace its links with their"
                    " values (Data, Edit Links, Break Link) and save it",
                ),
                "external_links",
            )
        self.workbook = WORKBOOKS[0]
        self.sheets, from_1904, to_be_calculated = self._workbook()
        self.styles = Styles(tuple(self._formats()), from_1904, to_be_calculated)

    def _check_members(self) -> None:
        members = self.archive.infolist()
        if len(members) > limits.MEMBERS:
            refuse(
                pgettext("file", "has %(members)s files in it; at most %(members2)s")
                % {"members": grouped(len(members)), "members2": grouped(limits.MEMBERS)},
                "too_large",
            )
        if any(member.flag_bits & 1 for member in members):
            refuse(
                pgettext("file", "is an archive with a password; save it without one"), "encrypted"
            )
        if len({member.filename.lower() for member in members}) != len(members):
            refuse(
                pgettext("file", "is a damaged archive (two files of one name); save it again"),
                "damaged",
            )
        unpacked = sum(member.file_size for member in members)
        if unpacked > limits.WORKBOOK_UNPACKED:
            refuse(
                pgettext(
                    "file",
                    "is %(unpacked)s bytes when it is unpacked; at most %(workbook_unpacked)s"
                    " are read: send it as CSV, or in parts",
                )
                % {
                    "unpacked": grouped(unpacked),
                    "workbook_unpacked": grouped(limits.WORKBOOK_UNPACKED),
                },
                "too_large",
            )
        for member in members:
            ratio = member.file_size / max(member.compress_size, 1)
            if member.file_size > limits.ANY_RATIO and ratio > limits.RATIO:
                refuse(
                    pgettext(
                        "file",
                        "unpacks to %(ratio)s times its size, as no workbook does; send it as CSV",
                    )
                    % {"ratio": format(ratio, ",.0f")},
                    "too_large",
                )

    @contextmanager
    def part(self, name: str, most: int | None = None) -> Iterator[BinaryIO]:
        """A part of the package, up to `most` bytes of it. KeyError if there is none."""
        info = self.archive.getinfo(self._names[name.lower()])
        if most is not None and info.file_size > most:
            refuse(
                pgettext("file", "has a list of %(file_size)s bytes (%(name)s), as none has")
                % {"file_size": grouped(info.file_size), "name": name},
                "too_large",
            )
        try:
            with self.archive.open(info) as source:
                yield cast(BinaryIO, source)
        except DAMAGED as error:
            refuse(
                pgettext("file", "is a damaged archive (%(error)s); send it again")
                % {"error": error},
                "damaged",
            )

    def strings(self) -> list[str]:
        """The texts that cells share. They are in memory, so there is a limit."""
        strings: list[str] = []
        pieces: list[str] = []
        gathers, phonetic, length = False, False, 0

        def start(name: str, _: dict[str, str]) -> None:
            nonlocal gathers, phonetic
            name = local(name)
            if name == "si":
                pieces.clear()
            elif name == "rPh":
                phonetic = True
            elif name == "t":
                gathers = not phonetic

        def end(name: str) -> None:
            nonlocal gathers, phonetic
            name = local(name)
            if name == "si":
                strings.append(unescaped("".join(pieces)))
                if len(strings) > limits.STRINGS:
                    refuse(
                        pgettext("file", "has more than %(strings)s texts; send it as CSV")
                        % {"strings": grouped(limits.STRINGS)},
                        "too_large",
                    )
            elif name == "rPh":
                phonetic = False
            elif name == "t":
                gathers = False

        def text(piece: str) -> None:
            nonlocal length
            if gathers:
                length += len(piece)
                if length > limits.STRINGS_TEXT:
                    refuse(pgettext("file", "has too many long texts; send it as CSV"), "too_large")
                pieces.append(piece)

        name = self._related(self.workbook, "sharedStrings")
        if name is not None:
            with self.part(name) as source:
                for _ in events(source, start, end, text):
                    pass
        return strings

    def _workbook(self) -> tuple[list[SheetName], bool, bool]:
        relations = self._relations(self.workbook)
        sheets: list[SheetName] = []
        from_1904 = to_be_calculated = False
        for name, attributes in self._elements(self.workbook):
            if name == "workbookPr":
                from_1904 = attributes.get("date1904") in ("1", "true")
            elif name == "calcPr":
                to_be_calculated = attributes.get("fullCalcOnLoad") in ("1", "true")
            elif name == "sheet":
                relation = next(
                    (value for key, value in attributes.items() if local(key) == "id"), ""
                )
                kind, target = relations.get(relation, ("", ""))
                if kind == "worksheet":
                    hidden = attributes.get("state", "visible") != "visible"
                    sheets.append(SheetName(attributes.get("name", ""), target, hidden))
        if not sheets or any(sheet.part.lower() not in self._names for sheet in sheets):
            refuse(pgettext("file", "is a workbook without a worksheet"), "damaged")
        return sheets, from_1904, to_be_calculated

    def _formats(self) -> Iterator[str]:
        """The number format of each style."""
        name = self._related(self.workbook, "styles")
        formats = dict(BUILT_IN)
        in_styles = False
        for element, attributes in self._elements(name) if name else ():
            if element == "numFmt":
                formats[int(attributes["numFmtId"])] = attributes["formatCode"]
            elif element in ("cellXfs", "cellStyleXfs", "cellStyles", "dxfs"):
                in_styles = element == "cellXfs"
            elif element == "xf" and in_styles:
                yield formats.get(int(attributes.get("numFmtId", "0")), "General")

    def _related(self, part: str, kind: str) -> str | None:
        """The part of that kind that belongs to another one, if it is there."""
        for of_kind, target in self._relations(part).values():
            if of_kind == kind and target.lower() in self._names:
                return target
        return None

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Kind and target of each relation of a part, by its id."""
        folder, name = posixpath.split(part)
        relations = {}
        for element, attributes in self._elements(f"{folder}/_rels/{name}.rels"):
            if element == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes["Target"]))
                kind = attributes["Type"].rpartition("/")[2]
                relations[attributes["Id"]] = (kind, target.lstrip("/"))
        return relations

    def _elements(self, part: str) -> Iterator[tuple[str, dict[str, str]]]:
        """The elements of a small part, in the order in which they begin."""
        found: list[tuple[str, dict[str, str]]] = []
        try:
            with self.part(part, limits.SMALL_PART) as source:
                for _ in events(
                    source,
                    lambda name, attributes: found.append((local(name), attributes)),
                    lambda name: None,
                    lambda piece: None,
                ):
                    yield from found
                    found.clear()
        except (KeyError, ValueError) as error:
            refuse(
                pgettext("file", "is a damaged workbook (%(part)s: %(error)s); save it again")
                % {"part": part, "error": error},
                "damaged",
            )


def _check_directory(file: BinaryIO) -> None:
    """Look at the end of an archive, before `zipfile` makes an object for each entry there."""
    size = file.seek(0, 2)
    if size > limits.WORKBOOK:
        refuse(
            pgettext(
                "file",
                "is a workbook of %(size)s bytes; at most %(workbook)s are read: send it as CSV",
            )
            % {"size": grouped(size), "workbook": grouped(limits.WORKBOOK)},
            "too_large",
        )
    file.seek(max(0, size - LONGEST_END - 20))
    tail = file.read()
    at = tail.rfind(DIRECTORY_END)
    if at < 0 or len(tail) < at + 22:
        refuse(pgettext("file", "is an archive that breaks off; send it again"), "damaged")
    directory = struct.unpack_from("<L", tail, at + 12)[0]
    if tail[max(0, at - 20) : at].startswith(ZIP64_LOCATOR):
        place = struct.unpack_from("<Q", tail, at - 20 + 8)[0]
        file.seek(min(place, size))
        record = file.read(56)
        directory = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else size
    if directory > limits.DIRECTORY:
        refuse(
            pgettext("file", "is an archive of too many files; %(save)s") % {"save": SAVE},
            "too_large",
        )
    file.seek(0)
