"""What happened in some days, in few words."""

from datetime import date

from readapi.reader import Reader
from readapi.store import QUERIES, Answer, ask
from readapi.transactions import completed


async def get_activity_summary(
    reader: Reader, account_id: str | None, *, currency: str | None, first: date, last: date, top: int
) -> Answer:
    """Money in and out by status, type and counterparty, and the largest entries; with None of all accounts."""
    everybody = account_id is None
    return await ask(
        reader,
        completed(QUERIES["activity_summary_get"], frozenset(), "-created_at", everybody=everybody),
        {
            "account_id": account_id,
            "currency": currency,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "top": str(top),
        },
    )
