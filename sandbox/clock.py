"""The bank's clock: it runs at its own speed, continues after a restart, and never goes backwards."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Clock:
    """Bank time as a function of a monotonic real time in seconds."""

    bank_anchor: datetime
    real_anchor: float
    speed: float

    def now(self, real: float) -> datetime:
        """The bank's time at a reading of the monotonic clock; at most the end of its calendar."""
        elapsed_seconds = max(0.0, real - self.real_anchor) * self.speed
        room_seconds = (_END - self.bank_anchor).total_seconds()
        return self.bank_anchor + timedelta(seconds=min(elapsed_seconds, room_seconds))


# A year before datetime.max, so that adding a few days to the bank's today cannot overflow.
_END = datetime(9998, 12, 31, tzinfo=UTC)


def resume(stored: datetime, wall: datetime, *, real: float, speed: float) -> Clock:
    """A clock that goes on from the stored bank time, or from the wall clock if the bank is behind it.

    A bank does not stop because its process did: what it missed happens when it is back.
    A bank that ran ahead of the wall clock stays ahead.
    """
    return Clock(bank_anchor=max(stored, wall), real_anchor=real, speed=speed)
