"""What the endpoints have in common: the parameters in their paths, and what they may answer besides."""

from typing import Annotated, Any

from fastapi import Path

from kernel import errors
from readapi.answers import FRESHNESS_HEADERS
from readapi.documentation import problem_responses
from readapi.exports import CSV, LINES
from readapi.parquet import MEDIA_TYPE as PARQUET
from readapi.values import ID_LENGTH, NO_NUL

AccountId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_LENGTH,
        pattern=NO_NUL,
        description="The bank's own id; `connection:id` for all but the default connection.",
        examples=["acct_123"],
    ),
]
TransactionId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_LENGTH,
        pattern=NO_NUL,
        description="The bank's own id; also one that it shows no more.",
        examples=["tx_1"],
    ),
]

# What any question may come to, `stale-data` where it says how old its answer may be.
ANY = (
    errors.NotAcceptable,
    errors.DatabaseUnavailable,
    errors.QueryTimeout,
    errors.Overloaded,
    errors.StaleData,
)
LIST = problem_responses(errors.ValidationFailed, errors.CursorInvalid, *ANY)
ONE = problem_responses(errors.ValidationFailed, errors.NotFound, *ANY)
LIST_OF_ONE = problem_responses(errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, *ANY)
LIST_AT = problem_responses(errors.ValidationFailed, errors.CursorInvalid, errors.MomentOpen, *ANY)
LIST_OF_ONE_AT = problem_responses(
    errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, errors.MomentOpen, *ANY
)
# A route with filters that look into what third parties wrote.
MEMO = problem_responses(errors.Forbidden)
AGE: dict[str, Any] = {
    "Cache-Control": {
        "schema": {"type": "string"},
        "description": "private, max-age=<seconds until fresh_until>; a year and immutable with known_at",
    },
    "Age": {"schema": {"type": "integer"}, "description": "Seconds since synced_at; not with known_at."},
    "ETag": {
        "schema": {"type": "string"},
        "description": "Changes with the data and the verdict, and not with when they were last confirmed.",
    },
    **{
        name: {"schema": {"type": "string"}, "description": f"freshness.{member}, also on a 304; not with known_at."}
        for name, member in FRESHNESS_HEADERS.items()
    },
    "Preference-Applied": {
        "schema": {"type": "string"},
        "description": "wait=<seconds>, where the answer was waited for as `Prefer: wait` said.",
    },
}
ACTIVITY_HEADERS = AGE
# Lists that may leave as files, and what else they may answer then.
FILES: dict[str, Any] = {
    CSV: {"schema": {"type": "string"}},
    **{form: {"schema": {"type": "string", "description": "A row on each line."}} for form in LINES},
    PARQUET: {"schema": {"type": "string", "format": "binary"}},
}


def or_file(answered: dict[str, Any]) -> dict[str, Any]:
    """A 200 that may also be a file, of all rows and with its freshness in headers."""
    return {**answered, "content": {**answered.get("content", {}), **FILES}}
