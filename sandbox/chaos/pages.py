"""Faults in what a page says: rows that are missing or come twice, cursors that lead nowhere, balances half told."""

import base64
import binascii
import re
from datetime import datetime, timedelta
from typing import Final

from sandbox import cursors
from sandbox.chaos.acts import LISTS, Edit, Fault, Page, Route
from sandbox.chaos.poison import note

_ROWS: Final[frozenset[Route]] = frozenset({"transactions", "changes"})
_LISTING: Final[frozenset[Route]] = frozenset({"transactions"})
_BALANCES: Final[frozenset[Route]] = frozenset({"balances"})
_BALANCE: Final[frozenset[Route]] = frozenset({"balances", "balance"})
_SKEW: Final = timedelta(hours=1)

# Our own cursors carry the cursor that they stand for, so that nothing has to be remembered: the page that they ask
# for is the page that they came with.
LEADS_ON: Final = frozenset({"cursor-repeats", "cursor-endless", "cursor-nothing"})
_TOKEN: Final = re.compile(r"chaos-(repeats|endless|nothing)-([0-9]{1,9})-([A-Za-z0-9_=-]*)")


def resolve(cursor: str) -> tuple[str, str | None] | None:
    """The fault that gave out a cursor and the bank's cursor it stands for, or None for one of the bank's own."""
    found = _TOKEN.fullmatch(cursor)
    if found is None:
        return None
    try:
        standing_for = base64.urlsafe_b64decode(found[3]).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return f"cursor-{found[1]}", standing_for or None


def _token(kind: str, count: int, standing_for: str | None) -> str:
    return f"chaos-{kind}-{count}-{base64.urlsafe_b64encode((standing_for or '').encode()).decode()}"


def _lead_on(page: Page, kind: str) -> bool:
    """There is always one more page, and it is this one."""
    given = page.call.cursor
    found = _TOKEN.fullmatch(given) if given is not None else None
    if found is None:
        count, standing_for = 0, given
    else:
        count, standing_for = int(found[2]), (resolve(found[0]) or ("", None))[1]
    step = 0 if kind == "repeats" else 1
    page.document["next_cursor"] = _token(kind, (count + step) % 10**9, standing_for)
    if page.call.route == "changes":
        page.document["has_more"] = True
    return True


def _repeats(page: Page) -> bool:
    return _lead_on(page, "repeats")


def _endless(page: Page) -> bool:
    return _lead_on(page, "endless")


def _nothing(page: Page) -> bool:
    _clear(page)
    return _lead_on(page, "nothing")


def _clear(page: Page) -> None:
    for rows in page.lists():
        rows.clear()
    if page.call.route == "changes":
        page.document["removed"] = []


def _empty(page: Page) -> bool:
    """Nothing, where there was something. The feed goes on from where it was, so that nothing is lost for ever."""
    if not any(page.lists()):
        return False
    _clear(page)
    if page.call.route == "changes":
        here = page.call.cursor
        if here is None:
            epoch = cursors.FeedCursor.decode(page.document["next_cursor"]).epoch
            here = cursors.FeedCursor(epoch, 0, 0, None).encode()
        page.document["next_cursor"], page.document["has_more"] = here, False
    else:
        page.document["next_cursor"] = None
    return True


def _without_data(page: Page) -> bool:
    del page.document["added" if page.call.route == "changes" else "data"]
    return True


def _another_host(page: Page) -> bool:
    page.document["next_cursor"] = page.options.location
    if page.call.route == "changes":
        page.document["has_more"] = True
    return True


def _row_again(page: Page) -> bool:
    """A row was inserted before this page: what ended the one before now begins this one."""
    if page.row_before is None or not page.lists():
        return False
    page.lists()[0].insert(0, page.row_before)
    return True


def _row_again_changed(page: Page) -> bool:
    if page.row_before is None or not page.lists() or "amount_cents" not in page.row_before:
        return False
    note(page, page.row_before)
    page.lists()[0].insert(0, page.row_before | {"amount_cents": page.row_before["amount_cents"] - 1})
    return True


def _row_skipped(page: Page) -> bool:
    """A row was deleted before this page: what would have begun it ended the one before, where nobody looks again."""
    rows = page.document["data"]
    if not rows:
        return False
    note(page, rows.pop(0))
    return True


def _of_balance(page: Page, name: str, change: object) -> bool:
    rows = [page.document] if page.call.route == "balance" else page.document["data"]
    rows = [row for row in rows if row.get(name) is not None]
    if rows:
        page.chance.choice(rows)[name] = change
    return bool(rows)


def _current_null(page: Page) -> bool:
    return _of_balance(page, "current_cents", None)


def _available_null(page: Page) -> bool:
    return _of_balance(page, "available_cents", None)


def _balance_absent(page: Page) -> bool:
    place = page.pick()
    if place is None:
        return False
    del place[0][place[1]]
    return True


def _skewed(page: Page) -> bool:
    rows = [page.document] if page.call.route == "balance" else page.document["data"]
    for row in rows:
        row["as_of"] = (datetime.fromisoformat(row["as_of"]) - _SKEW).isoformat()
    return bool(rows)


PAGES: Final = (
    Fault("list-empty", "B10 T18 T26", "No rows and no next page, where there are rows.", Edit(_empty), LISTS),
    Fault("data-missing", "B5", "The list itself is missing from the document.", Edit(_without_data), LISTS),
    Fault("cursor-repeats", "B9", "The next cursor leads to the same page with the same next cursor, for ever.",
          Edit(_repeats), LISTS),
    Fault("cursor-endless", "B9 T20", "Each next cursor is a new one, and leads to the same rows again.",
          Edit(_endless), LISTS, usual=False),
    Fault("cursor-nothing", "B9", "Each next cursor is a new one, and leads to an empty page.",
          Edit(_nothing), LISTS, usual=False),
    Fault("next-other-host", "B12", "The next cursor is `location`, an address of another host.",
          Edit(_another_host), LISTS),
    Fault("row-twice", "B8 T23", "A later page begins with the last row of the one before.",
          Edit(_row_again), _ROWS, "later"),
    Fault("row-twice-changed", "B8", "The same, with another amount.", Edit(_row_again_changed), _ROWS, "later"),
    Fault("row-skipped", "T23", "A later page of the listing lacks its first row.",
          Edit(_row_skipped), _LISTING, "later"),
    Fault("balance-null", "T45 T48", "A current balance is null.", Edit(_current_null), _BALANCE),
    Fault("available-null", "T48", "An available balance is null.", Edit(_available_null), _BALANCE),
    Fault("balance-absent", "T45", "A balance is missing from the list.", Edit(_balance_absent), _BALANCES),
    Fault("balance-skewed", "B13 T46", "Balances say that they are an hour old, beside newer transactions.",
          Edit(_skewed), _BALANCE),
)  # fmt: skip
