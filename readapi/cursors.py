"""Page cursors: opaque, signed, and good for one query of one scope only.

A cursor holds the sort keys of the last row that was shown, so a page begins after that row wherever it is by
then: nothing is skipped or repeated when rows come and go. It is never too old: no page that it may begin is gone.

Signing binds it to the path and the filters that it was made for, and to what its caller may see: a cursor that another
token was given is refused, unless both see the same (one answer, with its cursor, is kept for all of those). The page
size and the shown fields may change on the way.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from kernel.caller import Caller
from kernel.errors import CursorInvalid

# Moves on when the meaning of the keys changes, so that an old cursor is refused instead of misread.
VERSION = b"\x02"
MAC_BYTES = 16
# Parameters that shape the answer without changing which rows follow which.
UNBOUND = frozenset({"cursor", "limit", "fields", "max_age"})


@dataclass(frozen=True, slots=True)
class Cursors:
    """Makes and reads the cursors of one key."""

    key: bytes

    def make(self, caller: Caller, path: str, filters: Mapping[str, str], keys: str) -> str:
        """The cursor after a row; `keys` is the JSON array of its sort keys."""
        body = keys.encode()
        mac = self._sign(caller, path, filters, body)
        return base64.urlsafe_b64encode(VERSION + mac + body).rstrip(b"=").decode()

    def read(self, caller: Caller, path: str, filters: Mapping[str, str], cursor: str, key_count: int) -> list[str]:
        """The sort keys in a cursor. Raises CursorInvalid for one that was not made here, for this query and scope."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise CursorInvalid from None
        version, mac, body = raw[:1], raw[1 : 1 + MAC_BYTES], raw[1 + MAC_BYTES :]
        if version != VERSION or not hmac.compare_digest(mac, self._sign(caller, path, filters, body)):
            raise CursorInvalid
        keys = [str(key) for key in json.loads(body)]
        if len(keys) != key_count:
            raise CursorInvalid
        return keys

    def _sign(self, caller: Caller, path: str, filters: Mapping[str, str], body: bytes) -> bytes:
        asked = sorted((name, value) for name, value in filters.items() if name not in UNBOUND)
        sees = [None if caller.accounts is None else sorted(caller.accounts), caller.may("read:memo")]
        # As JSON, so that no two different queries have the same bytes.
        bound = json.dumps([path, asked, sees]).encode() + b"\0" + body
        return hmac.digest(self.key, VERSION + bound, hashlib.sha256)[:MAC_BYTES]
