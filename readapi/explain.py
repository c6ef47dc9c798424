"""Why a balance is what it is."""

from datetime import date

from readapi.reader import Reader
from readapi.store import QUERIES, Answer, ask


async def explain_balance(
    reader: Reader,
    account_id: str,
    *,
    currency: str | None,
    first: date | None,
    before: list[str] | None,
    limit: int,
) -> Answer:
    """A balance as an opening and the entries since, all summed up and a page of them."""
    before_at, before_id = before or ("infinity", "")
    return await ask(
        reader,
        QUERIES["balance_explain"],
        {
            "account_id": account_id,
            "currency": currency,
            "first": None if first is None else first.isoformat(),
            "before_at": before_at,
            "before_id": before_id,
            "limit": str(limit),
        },
    )
