"""What people decide about identity: two ids are one, or are not, or changes that looked wrong are right.

Who decided, when and why is kept beside the link. A ruling on accounts has them read again under what was decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, assert_never

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row, dict_row

from ingest import relink
from ingest.store import QUERIES, run_query
from kernel.database import Connection, Pool
from kernel.errors import BankmirrorError

State = Literal["linked", "suggested", "confirmed", "rejected", "undone"]

# Names under which the program itself decides.
RESERVED = frozenset({"bank", "ingest"})
# What a person looks at in one go.
ROWS_MAX = 200
# An acceptance is for the answer that was refused, not for ever: the next poll comes within minutes.
ACCEPT_HOURS = 24


class Ruling(StrEnum):
    """What somebody says about a link."""

    CONFIRM = "confirm"
    REJECT = "reject"
    UNDO = "undo"


class RulingRefused(BankmirrorError):
    """This cannot be decided so."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two ids that are, or may be, one. `rows_*` are set for accounts, `confidence` for transactions.

    `former` and `new` are what is known of either side, as it was last shown: amount_minor, currency, day (ISO) and
    text; of an account its currency and name, and no amount.
    """

    link_id: str
    subject: Literal["transaction", "account"]
    account_id: str
    former_id: str
    new_id: str
    kind: str
    evidence: str
    confidence: Any
    rows_seen: int | None
    rows_equal: int | None
    state: State
    found_at: datetime
    decided_by: str | None
    note: str | None
    former: dict[str, Any] | None
    new: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class RefusedFeed:
    """A feed whose answer was refused, because its ids seem to be positions in a list."""

    connection_id: str
    account_id: str
    raised_at: datetime
    last_seen_at: datetime
    rows_rewritten: int
    rows_held: int
    sample: Sequence[str]
    accepted_until: datetime | None


def ruled(state: State, ruling: Ruling) -> State | None:
    """The state of a link after a ruling; None where there is nothing to rule so."""
    match ruling:
        case Ruling.CONFIRM:
            return None if state == "confirmed" else "confirmed"
        case Ruling.REJECT:
            return "rejected" if state == "suggested" else None
        case Ruling.UNDO:
            return "undone" if state in ("linked", "confirmed") else None
        case _:
            assert_never(ruling)


async def list_links(pool: Pool, states: Sequence[State]) -> list[Link]:
    """Links in these states, those that wait for somebody first."""
    async with pool.connection() as connection:
        return await _links(connection, states, None)


async def _links(connection: Connection, states: Sequence[State], link_id: str | None) -> list[Link]:
    async with connection.cursor(row_factory=class_row(Link)) as cursor:
        await cursor.execute(QUERIES["links_list"], {"states": list(states), "link_id": link_id, "rows_max": ROWS_MAX})
        return await cursor.fetchall()


async def list_refused(pool: Pool) -> list[RefusedFeed]:
    """Feeds whose changes wait for somebody."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(RefusedFeed)) as cursor:
        await cursor.execute(QUERIES["positional_list"])
        return await cursor.fetchall()


async def rule(pool: Pool, link_id: str, ruling: Ruling, by: str, note: str) -> Link:
    """Decide about a link, by the short name that `list_links` gives. Returns it as it was. Raises RulingRefused."""
    _check(by, note)
    async with pool.connection() as connection:
        everything: list[State] = ["linked", "suggested", "confirmed", "rejected", "undone"]
        found = await _links(connection, everything, link_id)
        if not found:
            raise RulingRefused(f"there is no link {link_id}")
        link = found[0]
        state = ruled(link.state, ruling)
        if state is None:
            raise RulingRefused(f"link {link_id} is {link.state}: there is nothing to {ruling}")
        said = {
            "account_id": link.account_id,
            "former_id": link.former_id,
            "new_id": link.new_id,
            "was": link.state,
            "state": state,
            "by": by,
            "note": note,
        }
        if link.subject == "account":
            await _rule_account(connection, link, said)
        elif not await run_query(connection, "link_rule", said):
            raise RulingRefused(f"link {link_id} has changed meanwhile; look again")
        else:
            if state == "confirmed":
                await run_query(connection, "link_rule_out", said)
            # What may be there twice is no longer in doubt, or is again.
            await run_query(connection, "account_notify", said)
        return link


async def _rule_account(connection: Connection, link: Link, said: dict[str, Any]) -> None:
    """Outside any run, so the moments until now are closed: what is decided is known from a later one."""
    await run_query(connection, "account_rule_lock", said)
    await connection.execute(QUERIES["clock_seize"])
    async with connection.cursor(row_factory=dict_row) as cursor:
        try:
            await cursor.execute(QUERIES["account_rule"], said)
        except UniqueViolation:
            raise RulingRefused(f"{link.account_id} or {link.new_id} is linked otherwise; undo that first") from None
        row = await cursor.fetchone()
    if row is None:
        raise RulingRefused(f"link {link.link_id} has changed meanwhile; look again")
    await relink.reread(connection, row["connection_id"], [link.account_id])


async def accept_changes(pool: Pool, connection_id: str, account_id: str, by: str, note: str) -> None:
    """Say that the changes of a refused feed are right; it is polled at once. Raises RulingRefused."""
    _check(by, note)
    async with pool.connection() as connection:
        said = {
            "connection_id": connection_id,
            "account_id": account_id,
            "hours": ACCEPT_HOURS,
            "by": by,
            "note": note,
        }
        if not await run_query(connection, "positional_accept", said):
            raise RulingRefused("no such feed is refused; `bankmirror identity list` shows those that are")
        # What was removed while nothing was stored is told by no later poll.
        await run_query(connection, "sweep_hasten", said)


def _check(by: str, note: str) -> None:
    if not by.strip() or by in RESERVED:
        raise RulingRefused(f"a person decides, and has a name other than {' and '.join(sorted(RESERVED))}")
    if not note.strip():
        raise RulingRefused("say why: whoever looks at it next year will want to know")
