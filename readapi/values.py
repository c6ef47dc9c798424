"""The values that a query may hold: what is read strictly where it would be read leniently, and how large it may be."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from kernel.money import AMOUNT_MINOR_LIMIT, CODE_PATTERN, UnknownCurrencyError, all_currencies, exponent

# Rows on a page. Five hundred transactions are about 200 kB, which is more than an agent can read at once.
PAGE_LIMIT = 500
# Seconds: a year, which is any age.
MAX_AGE_SECONDS = 31_536_000
# PostgreSQL cannot index a longer id, so the mirror holds none.
ID_LENGTH = 2700
# All members of the largest answer still fit.
FIELDS_LENGTH = 2000
# A cursor holds at most two ids, in base64.
CURSOR_LENGTH = 8000

NO_NUL = r"^[^\x00]*$"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


# RFC 3339. Without an offset nobody could say which moment is meant.
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?(?:([Zz])|([+-](?:[01]\d|2[0-3]):[0-5]\d))", re.ASCII
)
_WHOLE = re.compile(r"-?\d+", re.ASCII)


def only_digits(value: Any) -> Any:
    """A whole number as text, and nothing else. Raises PydanticCustomError, which is a ValueError."""
    # Left to itself, pydantic also reads "1_0", "+1", " 1" and "1.0".
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("whole_number", "should be a whole number")
    return value


def _only_truth(value: Any) -> Any:
    # Left to itself, pydantic also reads "on", "y" and "1".
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticCustomError("truth", "should be true or false")
    return value


def _only_iso(value: Any) -> Any:
    # Left to itself, pydantic also reads numbers as seconds since 1970.
    if isinstance(value, str) and not _DATE.fullmatch(value):
        raise PydanticCustomError("date_format", "should be a date as YYYY-MM-DD")
    return value


def read_moment(value: Any) -> Any:
    """A moment from text as RFC 3339 has it, to the microsecond. Raises PydanticCustomError, which is a ValueError."""
    if not isinstance(value, str):
        return value
    written = _MOMENT.fullmatch(value)
    if written is None:
        # In a query, a plus sign that is not escaped means a space.
        hint = "; write + as %2B" if re.search(r" \d{2}:\d{2}$", value) else ""
        raise PydanticCustomError(
            "moment_format",
            "should be a moment with its offset, as 2026-01-31T23:59:59Z{hint}",
            {"hint": hint},
        )
    day, clock, fraction, _, offset = written.groups()
    microseconds = fraction[:7].ljust(7, "0") if fraction else ""
    try:
        # In UTC from here on: PostgreSQL takes no offset of sixteen hours or more.
        return datetime.fromisoformat(f"{day}T{clock}{microseconds}{offset or '+00:00'}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment_range", "is not a day and a time that there are") from None


def _only_listed(value: str) -> str:
    # An empty answer would say that there is no such money, where there is no such currency.
    try:
        exponent(value)
    except UnknownCurrencyError:
        raise PydanticCustomError("currency", "is not an ISO 4217 currency") from None
    return value


Id = Annotated[str, Field(min_length=1, max_length=ID_LENGTH, pattern=NO_NUL)]
Day = Annotated[date, BeforeValidator(_only_iso)]
Moment = Annotated[AwareDatetime, BeforeValidator(read_moment)]
KnownAt = Annotated[
    Moment | None,
    Field(
        description="Answer with what was known at this moment. Such an answer is the same bytes for ever; a moment at "
        "which something may still be stored is refused for now.",
        examples=["2026-01-31T23:59:59Z"],
    ),
]
MaxAge = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_AGE_SECONDS,
        description="Seconds since the bank confirmed it, at most. What is older is asked of the bank now, and waited "
        "for as `Prefer: wait` says (2 seconds unless it is said, 10 at most); what is older then is refused "
        "(`stale-data`). The header `Cache-Control: max-age` means the same. Not with `known_at`.",
        examples=[60],
    ),
    BeforeValidator(only_digits),
]
CurrencyCode = Annotated[
    str,
    Field(
        pattern=CODE_PATTERN,
        examples=["USD"],
        json_schema_extra={"enum": [code for code, _, _ in all_currencies()]},
    ),
    AfterValidator(_only_listed),
]
Truth = Annotated[bool, BeforeValidator(_only_truth)]
SearchText = Annotated[str, Field(min_length=1, max_length=140, pattern=NO_NUL)]
# The bounds stand before the validator: after it, pydantic would keep them and OpenAPI would lose them.
AmountMinor = Annotated[int, Field(ge=0, lt=AMOUNT_MINOR_LIMIT), BeforeValidator(only_digits)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT), BeforeValidator(only_digits)]
