"""The arguments that tools share."""

from datetime import date
from typing import Annotated

from pydantic import AwareDatetime, Field

# What an agent reads at once unless it asks for more, and the most that it gets. A transaction is about 80 tokens.
ROWS = 20
ROWS_MAX = 50

AccountId = Annotated[str, Field(min_length=1, description="As list_accounts gives it, e.g. acct_123.")]
Code = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217, e.g. USD.")]
Day = Annotated[date, Field(description="YYYY-MM-DD; booking dates, both ends included.")]
Moment = Annotated[AwareDatetime, Field(description="RFC 3339 with its offset, e.g. 2026-01-31T23:59:59Z.")]
Rows = Annotated[int, Field(ge=1, le=ROWS_MAX)]
Cursor = Annotated[str, Field(description="From `next`; with the same other arguments.")]
MaxAge = Annotated[
    int,
    Field(
        ge=0,
        description="Seconds. Older data is confirmed with the bank first, which takes a moment; where that fails the "
        "tool says so instead of answering.",
    ),
]
