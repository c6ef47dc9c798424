"""Text that somebody else wrote, made safe for a terminal and for one line."""

import unicodedata

# Controls, format characters (bidi, zero-width, tags), surrogates, private use, line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def line_of(text: str, characters_max: int = 200) -> str:
    """The text on one line, with a space for each character that does more than stand there, cut with an ellipsis."""
    # Cut first: the text may be long, and only its beginning is shown.
    safe = "".join(" " if unicodedata.category(each) in _UNSAFE else each for each in text[: characters_max + 1])
    return safe if len(safe) <= characters_max else safe[: characters_max - 1] + "…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun: 1 account, 2,000 accounts; `many` where an s does not make it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
