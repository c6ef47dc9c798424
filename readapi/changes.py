"""What changed since, for whoever keeps a copy: pages of windows between closed moments, and cursors that never expire.

A cursor is a position in a window, or the end of one, where the next begins. All of it is kept as history, so it may be
gone on from at any time: what comes out is the same, and applied page by page it makes of a copy as of the beginning of
the window the mirror as of its end (readapi/queries/changes.sql).
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kernel.errors import NotFound
from readapi.answers import compact
from readapi.cursors import Cursors
from readapi.reader import Reader
from readapi.store import QUERIES

# What cursors are bound to, whichever way they came and go: the answers of a stream and of a question are the same.
PATH = "/banking/changes"


class Position(NamedTuple):
    """A place in a window: after `since`, up to `until` (empty: the window has not begun), after this change."""

    since: str
    until: str = ""
    account_id: str = ""
    moment: str = "-infinity"
    kind: str = ""
    id: str = ""


BEGINNING = Position("-infinity")


class Page(NamedTuple):
    """A page, as changes_list describes it."""

    found: bool
    data: str
    next: str
    freshness: str
    age_seconds: int | None
    fresh_seconds: int | None
    has_more: bool
    # Whether anything is on it.
    changed: bool

    @property
    def position(self) -> Position:
        """Where the next page begins."""
        return Position._make(json.loads(self.next))

    @property
    def until(self) -> datetime:
        """The end of the window, on its last page."""
        return datetime.fromisoformat(self.position.since)

    @property
    def trust(self) -> tuple[str, str | None]:
        """The verdict and its reason."""
        freshness = json.loads(self.freshness)
        return freshness["verdict"], freshness["reason"]


@dataclass(frozen=True, slots=True)
class Feed:
    """The changes of one account, or (None) of all that the reader may see."""

    reader: Reader
    cursors: Cursors
    account_id: str | None

    async def page(self, position: Position, limit: int) -> Page:
        """The page that begins there. Raises NotFound for an account that is not there, or what asking raises."""
        row = await self.reader.row(
            QUERIES["changes_list"],
            {
                "account_id": self.account_id,
                "since": position.since,
                "until": position.until or None,
                "after_account": position.account_id or self.account_id or "",
                "after_moment": position.moment,
                "after_kind": position.kind,
                "after_id": position.id,
                "limit": str(limit),
            },
            plan_once=True,
        )
        page = Page._make(row)
        if not page.found:
            raise NotFound("no account has this id")
        return page

    async def closed(self) -> tuple[datetime, datetime]:
        """Until which moment changes can be told by now, and now, by the clock of the database."""
        until, asked_at = await self.reader.row(QUERIES["changes_closed"], {"account_id": self.account_id})
        return until, asked_at

    async def end(self) -> Position:
        """Where changes go on from now."""
        until, _ = await self.closed()
        return Position(until.isoformat())

    async def since(self, moment: datetime) -> Position:
        """Where changes go on from a moment; from now, if that is still to come."""
        until, _ = await self.closed()
        return Position(min(moment, until).isoformat())

    def position(self, cursor: str) -> Position:
        """Where a cursor goes on. Raises CursorInvalid for one that is not of this feed, or of another sight."""
        keys = self.cursors.read(self.reader.caller, PATH, self._bound, cursor, len(Position._fields))
        return Position._make(keys)

    def cursor(self, page: Page) -> str:
        """The cursor after a page."""
        return self.cursors.make(self.reader.caller, PATH, self._bound, page.next)

    def body(self, page: Page) -> str:
        """The page as an answer; the cursor is there at the end as well: it is asked with again later."""
        cursor, more = self.cursor(page), "true" if page.has_more else "false"
        data = compact(page.data)
        return f'{{"data":{data},"freshness":{page.freshness},"next_cursor":"{cursor}","has_more":{more}}}'

    @property
    def _bound(self) -> dict[str, str]:
        return {} if self.account_id is None else {"account_id": self.account_id}
