"""Accounts and balances, compared one by one: there are few of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

from banks.ports import (
    BankAnswerInvalid,
    BankGone,
    BankReader,
    BankThrottled,
    BankUnreachable,
    FetchedAccount,
    FetchedBalance,
    MutatedDuringPagination,
    Page,
)
from ingest.decide import DEFAULT_CONNECTION
from ingest.fetch import fetch_balances
from ingest.poll import Desk
from ingest.tally import Difference, FieldDifference, Note, differing_fields
from ingest.verify_store import Stored

Answer = TypeVar("Answer")

# A reading that breaks off is begun again this often in all; half of one proves nothing. A bank that fails a fifth of
# its requests lets a reading of several pages through by then.
ATTEMPTS_MAX = 8
# Seconds after a failure of the bank; twice as many after each further one, up to the second figure.
RETRY_SECONDS = 0.5
RETRY_SECONDS_MAX = 2.0
# Seconds that a person waits for a bank that asks for a pause. One that wants more cannot be compared now.
PAUSE_SECONDS_MAX = 60.0


async def patiently(read: Callable[[], Awaitable[Answer]]) -> Answer:
    """Read something of the bank as a whole, again where it broke off. Raises the last BankError."""
    for attempt in range(1, ATTEMPTS_MAX):
        try:
            return await read()
        except MutatedDuringPagination:
            pass
        except (BankUnreachable, BankAnswerInvalid):
            # A body that is cut off or spoiled says as little about the next one as a 5xx does.
            await asyncio.sleep(min(RETRY_SECONDS * 2 ** (attempt - 1), RETRY_SECONDS_MAX))
        except BankThrottled as error:
            pause = (error.retry_after or timedelta(seconds=1)) / timedelta(seconds=1)
            if pause > PAUSE_SECONDS_MAX:
                raise
            await asyncio.sleep(max(pause, 1.0))
    return await read()


def compare_accounts(
    listed: Mapping[str, FetchedAccount], stored: Mapping[str, Stored], refused: set[str]
) -> tuple[list[Difference], set[Note]]:
    """What the list of accounts shows otherwise than the mirror. One that is not listed any more stays by rule."""
    seen: list[Difference] = []
    notes: set[Note] = set()
    for account_id, theirs in listed.items():
        ours = stored.get(account_id)
        if ours is None:
            seen.append(Difference(account_id, "account", "", None, "missing-here"))
        elif fields := differing_fields(theirs, ours.account):
            seen.append(Difference(account_id, "account", "", None, "differs", fields))
    for account_id in stored.keys() - listed.keys():
        notes.add(Note(account_id, "quarantined" if account_id in refused else "unlisted-account"))
    return seen, notes


class Overheard:
    """A bank's reader that keeps every balance that the bank states, whoever asked.

    A balance that moves each second is never seen alike twice. But the mirror's is right if it is word for word what
    the bank stated in these minutes, time included.
    """

    def __init__(self, bank: BankReader) -> None:
        self._bank = bank
        self.stated: set[FetchedBalance] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bank, name)

    async def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        """Those of all accounts, or of one, as they come."""
        async for page in self._bank.balances(account_id):
            self.stated.update(page.rows)
            yield page


async def compare_balances(
    desk: Desk, stored: Mapping[str, Stored], only: str | None, stated: Set[FetchedBalance]
) -> tuple[list[Difference], set[Note]]:
    """What the balances show otherwise than the mirror, and where the mirror's own history contradicts them."""
    theirs, refused = await _list_balances(desk, stored, only)
    seen: list[Difference] = []
    notes = {Note(account_id, "quarantined") for account_id in refused}
    for key, balance in theirs.items():
        ours = stored[balance.account_id].balances.get(balance.currency) if balance.account_id in stored else None
        if ours is None and balance.account_id in stored:
            seen.append(Difference(*_place(key), "missing-here"))
        elif ours is not None and _values(ours.balance) != _values(balance) and ours.balance not in stated:
            fields = tuple(f for f in differing_fields(balance, ours.balance) if f.field != "as_of")
            seen.append(Difference(*_place(key), "differs", fields))
    for account in stored.values():
        for kept in account.balances.values():
            key = kept.balance[:2]
            if kept.history is not None and kept.history != _values(kept.balance):
                seen.append(Difference(*_place(key), "untied", _contradiction(kept.balance, kept.history)))
            elif key not in theirs:
                notes.add(Note(account.account.account_id, "unseen-balance"))
    return seen, notes


async def _list_balances(
    desk: Desk, stored: Mapping[str, Stored], only: str | None
) -> tuple[dict[tuple[str, str], FetchedBalance], set[str]]:
    """The bank's balances by account and currency; and the accounts whose balance was refused."""
    asked = [""] if desk.bank.capabilities.bulk_balances else sorted(stored)
    rows: dict[tuple[str, str], FetchedBalance] = {}
    refused: set[str] = set()
    for account_id in asked:
        with suppress(BankGone):  # Its balance stays as it was last seen.
            listed = await patiently(partial(fetch_balances, desk.bank, DEFAULT_CONNECTION, account_id))
            rows |= {row[:2]: row for row in listed.rows if only in (None, row.account_id)}
            refused |= {row.account_id for row in listed.refused if only in (None, row.account_id)}
    return rows, refused


def _place(key: tuple[str, str]) -> tuple[str, Literal["balance"], str, None]:
    return key[0], "balance", key[1], None


def _values(balance: FetchedBalance) -> tuple[int, int | None]:
    return balance.current_minor, balance.available_minor


def _contradiction(balance: FetchedBalance, history: tuple[int, int | None]) -> tuple[FieldDifference, ...]:
    kept = balance._replace(current_minor=history[0], available_minor=history[1])
    return differing_fields(kept, balance)
