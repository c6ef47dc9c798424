"""How `bankmirror` is typed where the user stands: after `make up` it lies in a virtualenv that is not on PATH."""

import os
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path


def as_typed(text: str) -> str:
    """The text with each `bankmirror …` of it, in backticks, as it can be typed here."""
    return re.sub(r"`bankmirror(?=[ `])", lambda _: f"`{own_name()}", text)


@cache
def own_name() -> str:
    """The shortest command that runs this very program from the current directory."""
    script = Path(sys.executable).parent / "bankmirror"
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m bankmirror"
    found = shutil.which("bankmirror")
    if found is not None and Path(found).samefile(script):
        return "bankmirror"
    return shlex.quote(short(script))


def short(path: Path) -> str:
    """The path as one would type it here: relative where that is shorter, and never a bare name."""
    relative = os.path.relpath(path)
    if len(relative) >= len(str(path)):
        return str(path)
    return relative if os.sep in relative or relative in (".", "..") else f".{os.sep}{relative}"
