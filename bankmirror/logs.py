"""Reading back what a child wrote to its log."""

import json
from pathlib import Path

_TAIL_BYTES = 16_000
_WORDS_MAX = 300


def last_words(log: Path, start: int = 0) -> str:
    """The last complaint in a log after an offset in bytes, in one line; else its last line."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            # A log that was set aside meanwhile is shorter than the offset.
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    lines = [line.strip() for line in lines if line.strip() and not line.strip().startswith("mend:")]
    complaints = [line for line in lines if line.lower().startswith("error:")]
    return _readable((complaints or lines or ["it said nothing"])[-1])[:_WORDS_MAX]


def _readable(line: str) -> str:
    """A structured log line as a person would say it."""
    try:
        event = json.loads(line)
        said = [str(event[name]) for name in ("event", "error", "exception") if event.get(name)]
    except (ValueError, TypeError, KeyError):
        return line
    # The last line of a traceback is the one that tells.
    return ": ".join(part.strip().splitlines()[-1] for part in said) or line
