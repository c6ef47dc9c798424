"""How the mirror is kept, and whether the process can answer."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from readapi.models.reports import View
from readapi.models.shapes import Envelope, FeedName, Shape, VerdictName


class Feed(Shape):
    """How fresh one feed of one account is."""

    account_id: str
    feed: FeedName
    verdict: VerdictName
    synced_at: datetime | None
    as_of: datetime | None
    fresh_until: datetime | None
    complete: bool
    entries_refused: int = Field(description="Entries of the bank that could not be read and wait in quarantine.")
    reason: str | None
    remedy: str | None


class SyncHealth(Shape):
    """How the mirror is kept."""

    verdicts: dict[VerdictName, int]
    views: list[View]
    feeds: list[Feed]


class Sync(Envelope[SyncHealth]):
    """The mirror's health."""


class Health(Shape):
    """The process is up."""

    status: Literal["up"]


class Ready(Shape):
    """The process can answer. How many feeds have which verdict is said, and does not make it unready."""

    status: Literal["ready"]
    verdicts: dict[str, int]
