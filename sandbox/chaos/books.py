"""What an event may be told, and the books it happens to."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from sandbox import problems, store
from sandbox.entries import Account, Booked, Change, Entry
from sandbox.schedule import OPERATING, PAYROLL
from sandbox.store import Connection, Ledger, Pool
from sandbox.words import minor

_Id = Annotated[StrictStr, Field(min_length=1, max_length=140, pattern=r"^[^\x00-\x20\x7f]+$")]


class Order(BaseModel):
    """An event, and what of it is not left to chance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: StrictStr
    account_id: _Id | None = None
    transaction_id: _Id | None = None
    new_account_id: _Id | None = None
    amount_cents: Annotated[StrictInt, Field(gt=-(10**15), lt=10**15)] | None = None
    days: Annotated[StrictInt, Field(ge=-400, le=400)] | None = None
    seconds: Annotated[StrictInt, Field(ge=1, le=400 * 86_400)] | None = None
    count: Annotated[StrictInt, Field(ge=2, le=100)] = 2
    removed: StrictBool | None = None
    rekey: StrictBool = True
    how: Literal["null", "absent"] = "null"


@dataclass(frozen=True, slots=True)
class Books:
    """The books while something happens to them: locked, in one transaction."""

    conn: Connection
    ledger: Ledger
    chance: random.Random
    order: Order
    # Accounts that something happened to which no row tells of.
    touched: set[str] = field(default_factory=set)

    async def transaction(self, status: str | None = "posted") -> Booked:
        """The one that was asked for, or one of the latest. Raises NothingToChange."""
        found = await store.choose(
            self.conn, transaction_id=self.order.transaction_id, account_id=self.order.account_id, status=status
        )
        if not found:
            raise problems.NothingToChange
        return self.chance.choice(found)

    async def account(self, *, any_of_them: bool = False) -> Account:
        """The one that was asked for, or any open one; of those that always exist only if it does no harm."""
        if self.order.account_id is not None:
            wanted = await store.lock_accounts(self.conn, [self.order.account_id])
            if self.order.account_id not in wanted:
                raise problems.NotFound
            self.touched.add(self.order.account_id)
            return wanted[self.order.account_id]
        kept = () if any_of_them else (OPERATING, PAYROLL)
        living = [a for a in await store.get_living(self.conn) if a.status == "open" and a.account_id not in kept]
        if not living:
            raise problems.NothingToChange
        account = self.chance.choice(living)
        self.touched.add(account.account_id)
        return account

    async def happen(self, *changes: Change) -> int:
        """Write changes to the log, and nothing else: no time passes."""
        await store.apply(self.conn, self.ledger, changes, bank_time=self.ledger.bank_time)
        return 0

    async def run(self, name: str, **params: Any) -> int:
        """Run a statement that takes `changes` positions of the log."""
        changes: int = (await store.fetch_row(self.conn, name, **params))["changes"]
        return changes

    def entry(self, account: Account, text: str) -> Entry:
        """A purchase, now, that is not posted yet."""
        cents = self.order.amount_cents
        if cents is None:
            cents = -minor(self.chance.randint(350, 4_500), account.currency)
        return Entry(account.account_id, cents, "card", text, self.ledger.bank_time, None, text.title())


# How many positions of the log it took beyond those that `happen` has counted.
Happening = Callable[[Books], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the catalogue. Events of weight 0 do not happen by themselves."""

    name: str
    ids: str
    about: str
    happen: Happening
    weight: int = 1


async def happen(pool: Pool, event: Event, order: Order, chance: random.Random) -> tuple[set[str], dict[str, Any]]:
    """Let an event happen, in one transaction. Returns which accounts changed, and what it was."""
    async with pool.connection() as conn, conn.transaction():
        ledger = await store.lock_ledger(conn)
        books = Books(conn, ledger, chance, order)
        changes = await event.happen(books)
        if changes:
            await store.run(conn, "ledger_advance", changes=changes, bank_time=ledger.bank_time, ticks=0)
        row = await store.fetch_row(conn, "log_since", head=ledger.head)
    accounts = books.touched | set(row.pop("account_ids"))
    return accounts, {"event": event.name, "account_ids": sorted(accounts), **row}
