"""Cursors: opaque to clients, readable here, and recognised when garbled.

A cursor is base64url of `kind|part|part|…|crc32`. The checksum keeps accidents out, not attackers:
everything a cursor can point at is the caller's to read anyway.
"""

import base64
import binascii
import zlib
from dataclasses import dataclass
from datetime import date

from sandbox.problems import CursorInvalid

# Ids are at most 64 characters; the longest cursor stays far below this.
_LENGTH_MAX = 512
_BIGINT_MAX = 2**63 - 1


def encode(kind: str, *parts: str) -> str:
    """An opaque cursor of one kind of list."""
    text = "|".join((kind, *parts))
    return base64.urlsafe_b64encode(f"{text}|{zlib.crc32(text.encode()):08x}".encode()).decode().rstrip("=")


def decode(kind: str, cursor: str, count: int) -> list[str]:
    """The parts of a cursor, or `CursorInvalid`."""
    try:
        if len(cursor) > _LENGTH_MAX:
            raise ValueError
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text, _, checksum = raw.decode("ascii").rpartition("|")
        found, *parts = text.split("|")
        if not text.isprintable():
            raise ValueError
    except (ValueError, binascii.Error):
        raise CursorInvalid from None
    if found != kind or len(parts) != count or checksum != f"{zlib.crc32(text.encode()):08x}":
        raise CursorInvalid
    return parts


@dataclass(frozen=True)
class FeedCursor:
    """Where a client stands in the change feed.

    `after` is the last position it has read. A loop over several pages also carries the position it began at
    and the head of the log at that time: added, modified and removed are relative to the loop's beginning.
    """

    epoch: int
    after: int
    began: int
    loop_head: int | None

    def encode(self) -> str:
        """The opaque form."""
        loop_head = "" if self.loop_head is None else str(self.loop_head)
        return encode("feed", str(self.epoch), str(self.after), str(self.began), loop_head)

    @classmethod
    def decode(cls, cursor: str) -> "FeedCursor":
        """The cursor back, or `CursorInvalid`."""
        epoch, after, began, loop_head = decode("feed", cursor, 4)
        return cls(_natural(epoch), _natural(after), _natural(began), _natural(loop_head) if loop_head else None)


def encode_day(day: date, transaction_id: str) -> str:
    """A cursor of the listing, which is sorted by (day, transaction_id)."""
    return encode("list", day.isoformat(), transaction_id)


def decode_day(cursor: str) -> tuple[date, str]:
    """The last day and id a client has read, or `CursorInvalid`."""
    day, transaction_id = decode("list", cursor, 2)
    try:
        return date.fromisoformat(day), transaction_id
    except ValueError:
        raise CursorInvalid from None


def _natural(text: str) -> int:
    if not text.isdecimal() or not (0 <= (number := int(text)) <= _BIGINT_MAX):
        raise CursorInvalid
    return number
