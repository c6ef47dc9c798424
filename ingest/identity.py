"""Identity: which ids that a changeset ends and brings are the same money.

A bank gives new ids to old entries, settles pending ones without saying as which, and some banks number rows by their
place in a list. The mirror stays what the bank shows; what belongs together is a link with its evidence. Runs inside
the transaction of a changeset.
"""

from typing import NamedTuple

import structlog

from banks.ports import BankError, CursorExpired
from ingest.decide import Changeset
from ingest.store import QUERIES, Claim, fetch_row, run_query
from kernel.database import Connection, Pool

log = structlog.get_logger()

# Two corrections that touch amount, day and text at once do happen; this many rows, and this share of what is touched,
# do not: then an id is a place in a list, and every row has moved.
REWRITTEN_ROWS_MIN = 3
REWRITTEN_SHARE_MIN = 0.2
# So many different entries of an account that come a second time under new ids are no coincidence; equal ones may well
# be, and so may a few that a pass merely missed.
SWITCHED_ROWS_MIN = 5
# A hold is settled within days, and a bank that takes an entry back shows it under its new id soon, if at all.
SETTLES_DAYS_MAX = 10
# A tip, a full tank, a rate of exchange: further apart than this, two amounts are not one purchase.
AMOUNT_TOLERANCE = 0.3
# Suggestions are for people: a few for each entry.
CANDIDATES_MAX = 3

_WINDOW = {"days": SETTLES_DAYS_MAX, "tolerance": AMOUNT_TOLERANCE, "candidates_max": CANDIDATES_MAX}
_TELL_ALL = {"payload": '{"accounts": null}'}
# What is compared with each other stands in temporary tables without an index. Only rows of the mirror are looked up by
# their key (see ingest.apply), so the two kinds of query want different plans.
_AMONG_THEMSELVES = "SET LOCAL enable_hashjoin = on"
_BY_KEY = "SET LOCAL enable_hashjoin = off"
# A table may have got most of its rows a moment ago, which nothing has counted yet: its index is used whatever the
# planner thinks.
_BY_INDEX = "SET LOCAL enable_seqscan = off"
_ANY_WAY = "SET LOCAL enable_seqscan = on"


class IdsSwitched(CursorExpired):
    """The bank adds under new ids what it has under old ones. Only a pass from the start shows which are left."""

    slug = "ids-switched"


class PositionalIds(BankError):
    """The bank's ids seem to be positions in a list: booked rows came with everything else under them changed."""

    slug = "positional-ids"

    def __init__(self, rewritten: int, held: int, sample: list[str]) -> None:
        super().__init__(
            # As an answer's reason it is cut after 140 characters, the slug counted; the remedy names the commands.
            f"{rewritten} of {held} booked transactions came with another amount, day and text; nothing was stored"
        )
        self.rewritten = rewritten
        self.held = held
        self.sample = sample


class Sight(NamedTuple):
    """What there is to compare a changeset with. `last_complete` is 0 on the first reading of a feed."""

    last_complete: int
    has_links: bool
    has_account_links: bool
    has_newcomers: bool
    is_flagged: bool
    # Of the target's accounts, except for what is missing: that is asked of all.
    has_refused: bool
    has_hidden: bool
    has_missing: bool
    has_pending: bool

    @property
    def compares(self) -> bool:
        """Whether an incoming id may be a known entry's new one. On a first reading every id is new."""
        return self.last_complete > 0


class Rekeyed(NamedTuple):
    """How many ids came, and how many rows have one of them instead of being removed, or missing."""

    came: int = 0
    removed: int = 0
    missing: int = 0


NOTHING = Rekeyed()


def is_rewrite(rewritten: int, held: int) -> bool:
    """Whether so many of the booked rows that an answer touches changed in everything that ids are positions."""
    return rewritten >= REWRITTEN_ROWS_MIN and rewritten >= REWRITTEN_SHARE_MIN * held


async def look(connection: Connection, claim: Claim) -> Sight:
    """One cheap question a changeset, so that a first backfill pays for nothing else."""
    return Sight(**await fetch_row(connection, "identity_look", claim.key))


# ── ids that are positions ──────────────────────────────────────────────────────────────────────────────────


async def refuse_positions(connection: Connection, claim: Claim, held: int) -> None:
    """Raise PositionalIds if booked rows are rewritten wholesale, unless somebody said that this is right.

    `held` is how many booked rows of ours the changeset shows.
    """
    await connection.execute(_AMONG_THEMSELVES)
    found = await fetch_row(connection, "rewritten_count", {})
    await connection.execute(_BY_KEY)
    if not is_rewrite(found["rewritten"], held):
        return
    if (await fetch_row(connection, "positional_accepted", claim.key))["accepted"]:
        log.warning("booked rows rewritten, as accepted", rows=found["rewritten"], run_id=claim.run_id)
        return
    raise PositionalIds(found["rewritten"], held, found["sample"])


async def flag_positions(pool: Pool, claim: Claim, error: PositionalIds) -> None:
    """Remember the refusal; the transaction that found it is gone."""
    async with pool.connection() as connection:
        flag = {"run_id": claim.run_id, "rewritten": error.rewritten, "held": error.held, "sample": error.sample}
        await run_query(connection, "positional_flag", {**claim.key, **flag})


# ── re-keyed ────────────────────────────────────────────────────────────────────────────────────────────────


async def rekey(connection: Connection, claim: Claim, changes: Changeset, sight: Sight) -> Rekeyed:
    """Find new ids among what came for what was removed, now or lately, and for what a whole pass does not show.

    Rows of `ended` become re-keyed instead of removed. Those that a pass missed are moved to `ended` if they are many,
    and are not missing any more; few wait for a second look, see `settle`. Raises IdsSwitched if a delta feed adds what
    it has already under other ids.
    """
    await connection.execute(QUERIES["identity_stage_create"])
    window = {**claim.key, "run_id": claim.run_id, **_WINDOW}
    came = await run_query(connection, "came_note") if changes.upserts else 0
    if came >= SWITCHED_ROWS_MIN and not changes.judges_absence:
        await _refuse_switched(connection)
    if came and changes.is_sweep and not changes.ends:
        await _refuse_doubled(connection)
    removed = missing = 0
    if came:
        gone = await run_query(connection, "gone_note_removed") if changes.removed else 0
        gone += await run_query(connection, "gone_note_lately", window)
        if gone and await _pair(connection):
            removed = await _link_pairs(connection, window)
    if changes.judges_absence and changes.ends and (came or sight.has_newcomers):
        missing = await _rekey_missing(connection, window)
    elif changes.judges_absence and came:
        await run_query(connection, "newcomers_note", window)
    return Rekeyed(came, removed, missing)


async def _refuse_switched(connection: Connection) -> None:
    await connection.execute(f"{_BY_INDEX}; {_AMONG_THEMSELVES}")
    for query in ("switch_weigh_moments", "switch_weigh_days"):
        cursor = await connection.execute(QUERIES[query], {"rows_min": SWITCHED_ROWS_MIN}, prepare=False)
        if switched := await cursor.fetchall():
            again = sum(row[1] for row in switched)
            raise IdsSwitched(f"{again} transactions came again under new ids, in {len(switched)} accounts")
    await connection.execute(f"{_ANY_WAY}; {_BY_KEY}")


async def _refuse_doubled(connection: Connection) -> None:
    """A sweep takes hours and makes no answer partial: what may be an old entry's new id cannot wait beside it."""
    await connection.execute(f"{_BY_INDEX}; {_AMONG_THEMSELVES}")
    doubled = (await fetch_row(connection, "came_doubles", {}))["entries"]
    await connection.execute(f"{_ANY_WAY}; {_BY_KEY}")
    if doubled:
        raise IdsSwitched(f"{doubled} transactions are shown under new ids, and their old ids were not shown yet")


async def _rekey_missing(connection: Connection, window: dict[str, object]) -> int:
    await run_query(connection, "gone_clear")
    # A history of millions that was given new ids is compared here at once; the run has a limit of its own.
    await connection.execute("SET LOCAL statement_timeout = 0")
    if not await run_query(connection, "gone_note_missing", window):
        return 0
    await run_query(connection, "came_note_newcomers", window)
    paired = await _pair(connection)
    if paired:
        few = {"run_id": window["run_id"], "rows_min": SWITCHED_ROWS_MIN}
        paired -= (await fetch_row(connection, "links_suggest_rekeyed", few))["entries"]
    if not paired:
        return 0
    await _link_pairs(connection, window)
    rekeyed = await run_query(connection, "ended_rekey_missing")
    await run_query(connection, "missing_rekeyed")
    await _tell(connection, window)
    return rekeyed


async def _pair(connection: Connection) -> int:
    """How many of all that is gone are shown under a new id."""
    await connection.execute(_AMONG_THEMSELVES)
    paired = await run_query(connection, "gone_pair")
    await connection.execute(_BY_KEY)
    return paired


async def _link_pairs(connection: Connection, window: dict[str, object]) -> int:
    """How many rows of `ended` have a new id now."""
    await connection.execute(_AMONG_THEMSELVES)
    ended = await run_query(connection, "ended_rekey")
    await run_query(connection, "came_used")
    await connection.execute(_BY_KEY)
    linked = await run_query(connection, "links_rekeyed", window)
    log.info("ids re-keyed", rows=linked, run_id=window["run_id"])
    return ended


async def _tell(connection: Connection, window: dict[str, object]) -> None:
    """Rows left the mirror and are not counted as removed: views and listeners follow all the same. Nor did what has
    another id only come late.
    """
    await run_query(connection, "late_forget_rekeyed")
    await run_query(connection, "relink_mark_changed", window)
    await run_query(connection, "changed_notify", _TELL_ALL)


async def take_back(connection: Connection) -> None:
    """The bank shows again what was linked as gone."""
    await connection.execute(_BY_INDEX)
    await run_query(connection, "links_take_back")
    await connection.execute(_ANY_WAY)


async def end_pass(connection: Connection, claim: Claim, sight: Sight) -> None:
    """A pass was believed to its end."""
    if sight.has_newcomers:
        await run_query(connection, "newcomers_forget", claim.key)
    if sight.has_links and await run_query(connection, "links_withdraw_rekeyed", claim.key):
        await run_query(connection, "changed_notify", _TELL_ALL)
    if sight.is_flagged:
        await run_query(connection, "positional_close", claim.key)


# ── pending that became posted ──────────────────────────────────────────────────────────────────────────────


async def settle(connection: Connection, claim: Claim, *, came: bool, ended: bool) -> int:
    """Find which posted entries the pending ones became where the bank does not say so, whatever came first.

    A pair is suggested when both are known, and linked when the pending entry is gone and no other entry fits either
    of the two. So is the new id of an entry that two looks missed. Returns how many rows of `ended` are settled or
    re-keyed instead of removed or absent.
    """
    window = {**claim.key, "run_id": claim.run_id, **_WINDOW}
    suggested = 0
    if came:
        accounts = (await fetch_row(connection, "came_accounts", {}))["accounts"]
        if accounts and await run_query(connection, "holds_note", {**window, "accounts": accounts}):
            suggested += await _suggest(connection, window)
        await run_query(connection, "links_suggest_same", window)
    if ended and await run_query(connection, "holds_note_ended"):
        await run_query(connection, "came_note_posted", window)
        suggested += await _suggest(connection, window)
    if not (suggested or ended):
        return 0
    followed = 0
    if ended and (followed := await run_query(connection, "ended_rekey_absent")):
        await run_query(connection, "links_rekey_absent", window)
    if await run_query(connection, "links_settle", window):
        await run_query(connection, "links_void", window)
    followed += await run_query(connection, "ended_settle")
    if followed:
        await _tell(connection, window)
    return followed


async def _suggest(connection: Connection, window: dict[str, object]) -> int:
    await connection.execute(_AMONG_THEMSELVES)
    suggested = await run_query(connection, "links_suggest_settled", window)
    await connection.execute(_BY_KEY)
    return suggested


# ── pending for ever ────────────────────────────────────────────────────────────────────────────────────────


async def set_lapse_days(pool: Pool, connection_id: str, days: int) -> None:
    """Say after how many days a pending entry that the bank still shows is called lapsed."""
    async with pool.connection() as connection:
        await run_query(connection, "lapse_days_set", {"connection_id": connection_id, "days": days})
