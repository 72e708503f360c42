"""The XML of a workbook, read in pieces and in bounds: elements as events, nothing else.

By expat itself: `defusedxml`, which openpyxl takes too, parses in Python, at several times the cost
(docs/decisions/0025). Its promises are kept here: no document types, hence no entities and no
references to other files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

from django.utils.translation import pgettext

from services.transfer.files import limits
from services.transfer.files.faults import refuse

PIECE = 65_536
Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


def _no_document_type(*_: Any) -> None:
    refuse(
        pgettext(
            "file", "is a workbook with a document type in its XML, which none has; save it again"
        ),
        "unsafe",
    )


def events(source: BinaryIO, start: Start, end: End, text: Callable[[str], None]) -> Iterator[int]:
    """Call `start`, `end` and `text` for what `source` has; yield after each piece how much it was.

    `start` and `end` get the names as they are written, which may have a prefix. BadBook.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _no_document_type
    parser.EntityDeclHandler = _no_document_type
    element_at, read = 0, 0
    try:
        while piece := source.read(PIECE):
            read += len(piece)
            parser.Parse(piece, False)
            # Expat keeps in memory all that it has not finished yet.
            element_at = max(element_at, parser.CurrentByteIndex)
            if read - element_at > limits.WITHOUT_ELEMENT:
                refuse(
                    pgettext(
                        "file", "is a workbook with an endless element in its XML; save it again"
                    ),
                    "unsafe",
                )
            yield read
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError) as error:  # an encoding that nobody knows, too
        refuse(
            pgettext("file", "is a damaged workbook (%(error)s); save it again") % {"error": error},
            "damaged",
        )
    yield read


def local(name: str) -> str:
    return name.rpartition(":")[2]
