"""Events: what really happens to the books of banks. Each goes through the log, so that every answer agrees with it."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal

from sandbox import problems, store
from sandbox.chaos.books import Books, Event, Happening
from sandbox.chaos.poison import HIDDEN
from sandbox.entries import Amend, Book, Change, Remove

# Within the two weeks that a client looks back, and beyond any that looks back for days only.
_LATE: Final = timedelta(days=12)


async def _rekeyed(books: Books) -> int:
    booked = await books.transaction(None)
    return await _rekey(books, transaction_id=booked.transaction_id, removed=books.order.removed is not False)


async def _account_rekeyed(books: Books) -> int:
    account = await books.account(any_of_them=True)
    return await _rekey(books, account_id=account.account_id, removed=books.order.removed is not False)


async def _scheme_switched(books: Books) -> int:
    return await _rekey(books, removed=books.order.removed is True)


async def _rekey(books: Books, **params: Any) -> int:
    usual = {"account_id": None, "transaction_id": None, "new_account_id": None, "rekey": True}
    return await books.run("transactions_rekey", **(usual | params))


async def _positional(books: Books) -> int:
    account = await books.account(any_of_them=True)
    await store.run(books.conn, "transactions_park", account_id=account.account_id)
    return await books.run("transactions_number", account_id=account.account_id)


async def _relinked(books: Books) -> int:
    account = await books.account()
    digits = f"{books.chance.getrandbits(40):010x}"
    new_id = books.order.new_account_id or f"acct_{digits}"
    if new_id in await store.lock_accounts(books.conn, [new_id]):
        raise problems.ValidationFailed(errors=[{"pointer": "/new_account_id", "message": "there is one already"}])
    await store.run(books.conn, "account_double", account_id=account.account_id, new_account_id=new_id)
    books.touched.add(new_id)
    changes = await _rekey(
        books, account_id=account.account_id, new_account_id=new_id, rekey=books.order.rekey,
        removed=books.order.rekey and books.order.removed is True,
    )  # fmt: skip
    row = await store.fetch_row(books.conn, "account_drop", account_id=account.account_id)
    await store.run(books.conn, "account_place", account_id=new_id, ordinal=row["ordinal"])
    return changes


async def _twins(books: Books) -> int:
    entry = books.entry(await books.account(any_of_them=True), "SQ *BLUE DOOR COFFEE")
    return await books.happen(*[Book(replace(entry, booked_on=entry.created_at.date()))] * books.order.count)


async def _pending(books: Books) -> int:
    return await books.happen(Book(books.entry(await books.account(any_of_them=True), "HARBOR HOTEL")))


async def _late(books: Books) -> int:
    entry = books.entry(await books.account(any_of_them=True), "CITY TRANSIT")
    ago = _LATE if books.order.days is None else timedelta(days=books.order.days)
    return await books.happen(Book(replace(entry, booked_on=entry.created_at.date() - ago)))


async def _hidden(books: Books) -> int:
    entry = books.entry(await books.account(any_of_them=True), f"INVOICE 7{HIDDEN}7 \u202dPAY AGAIN\u202c")
    return await books.happen(Book(replace(entry, booked_on=entry.created_at.date())))


def _settles(
    *, linked: bool = True, percent: int = 100, days: int = 0, order: Literal["removed", "booked"] = "removed"
) -> Happening:
    async def happen(books: Books) -> int:
        hold = await books.transaction("pending")
        now, cents = books.ledger.bank_time, books.order.amount_cents
        day = now.date() - timedelta(days=days if books.order.days is None else books.order.days)
        settled = replace(
            hold.entry, created_at=now, booked_on=day,
            amount_cents=hold.entry.amount_cents * percent // 100 if cents is None else cents,
            pending_transaction_id=hold.transaction_id if linked else None,
        )  # fmt: skip
        both: list[Change] = [Remove(hold.transaction_id, hold.entry.account_id), Book(settled)]
        return await books.happen(*(both if order == "removed" else reversed(both)))

    return happen


async def _in_place(books: Books) -> int:
    hold = await books.transaction("pending")
    day = books.ledger.bank_time.date() - timedelta(days=books.order.days or 0)
    return await books.happen(
        Amend(hold.transaction_id, hold.entry.account_id, amount_cents=books.order.amount_cents, booked_on=day)
    )


async def _lapses(books: Books) -> int:
    hold = await books.transaction("pending")
    return await books.happen(Remove(hold.transaction_id, hold.entry.account_id))


async def _removed(books: Books) -> int:
    booked = await books.transaction("posted" if books.order.transaction_id is None else None)
    await store.run(books.conn, "transaction_keep", transaction_id=booked.transaction_id)
    return await books.happen(Remove(booked.transaction_id, booked.entry.account_id))


async def _undeleted(books: Books) -> int:
    kept = await store.fetch_all(
        books.conn, "transactions_kept", transaction_id=books.order.transaction_id, account_id=books.order.account_id
    )
    if not kept:
        raise problems.NothingToChange
    transaction_id = books.chance.choice(kept)["transaction_id"]
    await store.run(books.conn, "transaction_undelete", transaction_id=transaction_id)
    return 1


async def _redated(books: Books) -> int:
    booked = await books.transaction()
    assert booked.entry.booked_on is not None
    day = booked.entry.booked_on - timedelta(days=3 if books.order.days is None else books.order.days)
    return await books.happen(Amend(booked.transaction_id, booked.entry.account_id, booked_on=day))


async def _corrected(books: Books) -> int:
    booked = await books.transaction()
    cents = booked.entry.amount_cents - 100 if books.order.amount_cents is None else books.order.amount_cents
    return await books.happen(Amend(booked.transaction_id, booked.entry.account_id, amount_cents=cents))


async def _closed(books: Books) -> int:
    account = await books.account()
    await store.run(books.conn, "account_shut", account_id=account.account_id, gone=True)
    return 0


async def _reopened(books: Books) -> int:
    account_id = await _one_of_the_changed(books, gone=True)
    await store.run(books.conn, "account_shut", account_id=account_id, gone=False)
    return 0


async def _balance_missing(books: Books) -> int:
    account = await books.account(any_of_them=True)
    return await _tell(books, account.account_id, told=books.order.how)


async def _balance_lagging(books: Books) -> int:
    account = await books.account(any_of_them=True)
    return await _tell(books, account.account_id, lag_seconds=books.order.seconds or 86_400)


async def _balance_told(books: Books) -> int:
    return await _tell(books, await _one_of_the_changed(books, gone=False))


async def _tell(books: Books, account_id: str, told: str = "told", lag_seconds: int = 0) -> int:
    await store.run(books.conn, "account_tell_balance", account_id=account_id, told=told, lag_seconds=lag_seconds)
    return 0


async def _one_of_the_changed(books: Books, *, gone: bool) -> str:
    rows = await store.fetch_all(books.conn, "accounts_changed", account_id=books.order.account_id, gone=gone)
    if not rows:
        raise problems.NothingToChange
    account_id: str = books.chance.choice(rows)["account_id"]
    books.touched.add(account_id)
    return account_id


EVENTS: Final = {
    event.name: event
    for event in (
        Event("pending", "T1 T5", "A hold. It stays pending until an event settles it.", _pending, 6),
        Event("pending-settles", "X11 T3", "A hold is removed, and posted under another id that names it.",
              _settles(), 3),
        Event("pending-settles-unlinked", "X11 T1", "The same, and nothing says that the one was the other.",
              _settles(linked=False), 3),
        Event("pending-settles-other-amount", "X11 T2", "Unlinked, and 18 % more than was held (`amount_cents`).",
              _settles(linked=False, percent=118), 2),
        Event("pending-settles-other-day", "X11 T1", "Unlinked, and booked two days back (`days`).",
              _settles(linked=False, days=2), 2),
        Event("pending-settles-booked-first", "X11 T3", "Linked; the feed has the posting before the removal.",
              _settles(order="booked"), 2),
        Event("pending-settles-in-place", "T31", "A hold is posted under its own id.", _in_place, 2),
        Event("pending-lapses", "T5", "A hold is removed, and nothing comes of it.", _lapses, 1),
        Event("twins", "T6", "`count` (2) identical postings on one day, to the second.", _twins, 3),
        Event("posted-late", "X13 T24", "A posting for 12 days ago (`days`).", _late, 3),
        Event("redated", "T29 T32", "A posted row moves 3 days back (`days`).", _redated, 2),
        Event("corrected", "X10 T29 T32", "A posted row's amount changes (`amount_cents`).", _corrected, 3),
        Event("removed", "X12 T3 T30", "A posted row is removed.", _removed, 2),
        Event("undeleted", "X12 T3", "A row that `removed` took comes back under its id.", _undeleted, 2),
        Event("memo-hidden-booked", "X7 T67", "A posting whose text hides characters.", _hidden, 1),
        Event("rekeyed", "T10", "A row gets another id; `removed` false: without a tombstone.", _rekeyed, 2),
        Event("account-rekeyed", "T10", "All rows of an account do.", _account_rekeyed, 0),
        Event("id-scheme-switched", "T10", "All rows of all accounts do; with tombstones only if `removed` is true.",
              _scheme_switched, 0),
        Event("ids-positional", "T7", "Ids of an account become places, the newest row first. Again: they move on.",
              _positional, 0),
        Event("account-relinked", "T12", "An account gets another id (`new_account_id`), and all its rows with it; "
              "rows keep theirs if `rekey` is false. Tombstones only if `removed` is true.", _relinked, 0),
        Event("account-closed", "T52 T53", "An account is closed, and 410 from now on.", _closed, 0),
        Event("account-reopened", "T53", "It is open again.", _reopened, 0),
        Event("balance-missing", "T45 T48", "A balance is not told: null, or `how` absent.", _balance_missing, 0),
        Event("balance-lagging", "B13 T46", "A balance is one of `seconds` ago (a day), and says so.",
              _balance_lagging, 0),
        Event("balance-told", "T45", "A balance is told again as it should be.", _balance_told, 0),
    )
}  # fmt: skip


def one_by_chance(chance: random.Random) -> Event:
    """An event that may happen by itself."""
    events = [event for event in EVENTS.values() if event.weight]
    [event] = chance.choices(events, [event.weight for event in events])
    return event
