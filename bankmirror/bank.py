"""A first look at the bank, before anything depends on it: it answers, accepts our key, and makes sense."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from bankmirror.plain import counted
from banks.ports import BankAnswerInvalid
from banks.registry import open_reader
from banks.settings import BankSettings


@dataclass(frozen=True, slots=True)
class Look:
    """The first page of accounts. `ahead` is the bank's clock less ours; None if it tells no time."""

    address: str
    accounts: int
    more: bool
    ahead: timedelta | None

    def __str__(self) -> str:
        return f"{self.address}, " + (
            f"{self.accounts} or more accounts" if self.more else counted(self.accounts, "account")
        )


async def look(settings: BankSettings) -> Look:
    """Ask the bank for its accounts. Raises a BankError."""
    async with open_reader(settings) as reader:
        async for page in reader.accounts():
            if page.refused:
                raise BankAnswerInvalid(f"an account that makes no sense: {page.refused[0].reason}")
            ahead = None if page.as_of is None else page.as_of - datetime.now(UTC)
            address = urlsplit(settings.bank_api_base_url).netloc
            return Look(address, len(page.rows), page.next_cursor is not None, ahead)
    raise BankAnswerInvalid("not even an empty list of accounts")
