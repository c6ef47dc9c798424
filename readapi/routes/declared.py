"""What the endpoints have in common: the parameters in their paths, and what they may answer besides."""

from typing import Annotated, Any

from fastapi import Path

from kernel import errors
from readapi.answers import FRESHNESS_HEADERS
from readapi.documentation import problem_responses
from readapi.filters import ID_LENGTH, NO_NUL

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

OVERLOADED = (errors.DatabaseUnavailable, errors.QueryTimeout, errors.Overloaded)
LIST = problem_responses(errors.ValidationFailed, errors.CursorInvalid, *OVERLOADED)
ONE = problem_responses(errors.ValidationFailed, errors.NotFound, *OVERLOADED)
LIST_OF_ONE = problem_responses(errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, *OVERLOADED)
LIST_AT = problem_responses(errors.ValidationFailed, errors.CursorInvalid, errors.MomentOpen, *OVERLOADED)
LIST_OF_ONE_AT = problem_responses(
    errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, errors.MomentOpen, *OVERLOADED
)
AGE: dict[str, Any] = {
    "Cache-Control": {
        "schema": {"type": "string"},
        "description": "private, max-age=<seconds until fresh_until>; a year and immutable with known_at",
    },
    "Age": {"schema": {"type": "integer"}, "description": "Seconds since synced_at; not with known_at."},
}
ACTIVITY_HEADERS = {**AGE, **{name: {"schema": {"type": "string"}} for name in FRESHNESS_HEADERS}}
