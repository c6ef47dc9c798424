"""Page cursors: opaque, signed, and good for one query only.

A cursor holds the sort keys of the last row that was shown, so a page begins after that row wherever it is by
then: nothing is skipped or repeated when rows come and go. Signing binds it to the path and the filters that
it was made for; the page size may change on the way.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from kernel.errors import CursorInvalid

# Moves on when the meaning of the keys changes, so that an old cursor is refused instead of misread.
VERSION = b"\x01"
MAC_BYTES = 16
# Parameters that shape the answer without changing which rows follow which.
UNBOUND = frozenset({"cursor", "limit"})


@dataclass(frozen=True, slots=True)
class Cursors:
    """Makes and reads the cursors of one key."""

    key: bytes

    def make(self, path: str, filters: Mapping[str, str], keys: str) -> str:
        """The cursor after a row; `keys` is the JSON array of its sort keys."""
        body = keys.encode()
        return base64.urlsafe_b64encode(VERSION + self._sign(path, filters, body) + body).rstrip(b"=").decode()

    def read(self, path: str, filters: Mapping[str, str], cursor: str, key_count: int) -> list[str]:
        """The sort keys in a cursor. Raises CursorInvalid for one that was not made here, for this query."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise CursorInvalid from None
        version, mac, body = raw[:1], raw[1 : 1 + MAC_BYTES], raw[1 + MAC_BYTES :]
        if version != VERSION or not hmac.compare_digest(mac, self._sign(path, filters, body)):
            raise CursorInvalid
        keys: list[str] = json.loads(body)
        if len(keys) != key_count:
            raise CursorInvalid
        return keys

    def _sign(self, path: str, filters: Mapping[str, str], body: bytes) -> bytes:
        asked = sorted((name, value) for name, value in filters.items() if name not in UNBOUND)
        # As JSON, so that no two different queries have the same bytes.
        bound = json.dumps([path, asked]).encode() + b"\0" + body
        return hmac.digest(self.key, VERSION + bound, hashlib.sha256)[:MAC_BYTES]
