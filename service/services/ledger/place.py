"""A position in the feed, as it is given out and taken back."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from django.conf import settings

FORM = ">qqI6s4s4s"  # of a place with a proof
BARE = ">qq"


@dataclass(frozen=True)
class Proof:
    """By what a book recognises a place that it gave out itself.

    `life`: 32 bits of the key of the life that wrote what is there. `block`, `hash`: the newest
    sealed block up to the place, and the beginning of its hash; 0 and zeros where there was none.
    `mark`: a digest of how many rows lie between that block and the place, and of when the last of
    them was recorded; zeros: only the life is known.
    """

    life: int
    block: int = 0
    hash: bytes = bytes(4)
    mark: bytes = bytes(4)


@dataclass(frozen=True)
class Place:
    """A position behind an entry of the feed: where to read on.

    Written as 48 characters that need no quoting in a URL: transaction, id, proof, and a check of
    two bytes, so that a text which is no place is recognised. It is not secret. Without a proof it
    has 24 characters; the releases before lives gave out such ones, and know no others, so beside
    them FEED_SHORT_PLACES asks for these.
    """

    xact: int = 0
    id: int = 0
    proof: Proof | None = None

    def __str__(self) -> str:
        if self.proof is None or settings.FEED_SHORT_PLACES:
            place = struct.pack(BARE, self.xact, self.id)
        else:
            block = self.proof.block.to_bytes(6)
            proof = self.proof.life, block, self.proof.hash, self.proof.mark
            place = struct.pack(FORM, self.xact, self.id, *proof)
        return base64.urlsafe_b64encode(place + self._check(place)).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a place from its text. ValueError for a text that no feed has given out."""
        if len(text) not in (24, 48) or not text.isascii():
            raise ValueError("a place has 24 or 48 characters")
        content = base64.b64decode(text, altchars=b"-_", validate=True)
        place, check = content[:-2], content[-2:]
        if check != cls._check(place):
            raise ValueError("the check does not fit")
        if len(text) == 24:
            found = cls(*struct.unpack(BARE, place))
        else:
            xact, id, life, block, hash, mark = struct.unpack(FORM, place)
            found = cls(xact, id, Proof(life, int.from_bytes(block), hash, mark))
        if found.xact < 0 or found.id < 0:
            raise ValueError("no entry has a number below 0")
        return found

    @staticmethod
    def _check(place: bytes) -> bytes:
        return blake2b(place, digest_size=2, person=b"feed").digest()
