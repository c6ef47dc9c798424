"""What a token is: a text that says whose secret it is, can be found by scanners, and whose typing errors show at once.

    bmk_live_Ab3dE9fGhx…43 characters…Qw7p0Z
    ─┬─ ─┬── ───┬──── ───────┬──────── ──┬───
     │   │      id         secret     checksum
     │   environment
     prefix

The id (8 characters) may be shown, logged and searched for. The secret (43) holds 256 bits. The checksum (6) is the
CRC-32 of all that stands before it: what fails it was mistyped or made up, and no database need be asked. All three are
written in base 62, so that a double click marks the whole token.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Collection
from typing import Literal, NamedTuple

Environment = Literal["live", "test"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 8
_SECRET_BITS = 256
# The least number of digits in which every secret of 256 bits can be written, and every CRC-32.
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_FORM = re.compile(
    rf"bmk_(?P<environment>live|test)_(?P<token_id>[0-9A-Za-z]{{{_ID_LENGTH}}})"
    rf"[0-9A-Za-z]{{{_SECRET_LENGTH}}}[0-9A-Za-z]{{{_CHECKSUM_LENGTH}}}"
)
_MONEY = frozenset({"transfer:request", "transfer:approve"})


class Token(NamedTuple):
    """A token as its holder has it. `text` is the secret: shown once, stored nowhere."""

    environment: Environment
    token_id: str
    text: str


def make(environment: Environment) -> Token:
    """A new token."""
    token_id = "".join(secrets.choice(_DIGITS) for _ in range(_ID_LENGTH))
    begun = f"bmk_{environment}_{token_id}{_written(secrets.randbits(_SECRET_BITS), _SECRET_LENGTH)}"
    return Token(environment, token_id, begun + _checksum(begun))


def parse(text: str) -> Token | None:
    """The token that a text is, if it has the form of one; whether it was ever given out only the database knows."""
    form = _FORM.fullmatch(text)
    if form is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return Token("live" if form["environment"] == "live" else "test", form["token_id"], text)


def digest(text: str) -> bytes:
    """What is stored of a token: SHA-256 of the whole text. Slow hashes are for secrets that people think up."""
    return hashlib.sha256(text.encode()).digest()


def what_is_wrong(scopes: Collection[str]) -> str | None:
    """Why these scopes cannot be on one token; the database refuses the same (schema/versions/0010_access.sql)."""
    if "read:memo" in scopes and _MONEY & set(scopes):
        return (
            "read:memo cannot be with a transfer scope on one token: who reads what strangers write must not be able "
            "to move money"
        )
    if "read:memo" in scopes and "read" not in scopes:
        return "read:memo needs read as well"
    return None


def _checksum(begun: str) -> str:
    return _written(zlib.crc32(begun.encode()), _CHECKSUM_LENGTH)


def _written(number: int, length: int) -> str:
    """A number in base 62, filled up with zeros."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
