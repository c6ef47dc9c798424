"""Which form of an answer a request accepts (RFC 9110, 12.5.1). Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.errors import NotAcceptable


class _Range(NamedTuple):
    """A media range of an Accept header, and how much it is wanted, from 0 to 1."""

    kind: str
    subkind: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """How closely this names a media type; 0: not at all."""
        kind, _, subkind = media_type.partition("/")
        if (self.kind, self.subkind) == (kind, subkind):
            return 3
        if (self.kind, self.subkind) == (kind, "*"):
            return 2
        return int((self.kind, self.subkind) == ("*", "*"))


def chosen_form(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that is wanted most; of equals the first one, so that is what `*/*` gets.

    Parameters other than `q` are not looked at: no form has versions. Raises NotAcceptable.
    """
    if not accept:
        return offered[0]
    ranges = [found for part in accept.split(",") if (found := _range(part)) is not None]
    wanted = {form: _quality(ranges, form) for form in offered}
    best = max(offered, key=lambda form: wanted[form])
    if wanted[best] <= 0:
        raise NotAcceptable(f"this is answered as one of: {', '.join(offered)}")
    return best


def _quality(ranges: Sequence[_Range], media_type: str) -> float:
    """What the range says that names it most closely."""
    best, quality = 0, 0.0
    for one in ranges:
        specificity = one.specificity(media_type)
        if specificity > best:
            best, quality = specificity, one.quality
    return quality


def _range(part: str) -> _Range | None:
    """One media range; None for what is none."""
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    kind, slash, subkind = name.partition("/")
    if not (kind and slash and subkind):
        return None
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                return None
    # NaN is a float to Python, and no quality.
    return _Range(kind, subkind, quality) if quality == quality else None
