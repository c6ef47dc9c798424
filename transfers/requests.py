"""What a client may ask for, read strictly: one meaning, bounded, nothing ignored."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from banks.strict_json import NotStrictJSONError, parse
from kernel import errors
from kernel.money import AMOUNT_MINOR_LIMIT
from kernel.problems import reason

BODY_BYTES_MAX = 64 * 1024
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
# Shorter keys of many clients are counters or dates, and those collide.
_LIVE_KEY_MIN = 16

# Any characters a bank may put into an id, but none that a terminal or a log would act on.
_Id = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
_Reference = Annotated[str, StringConstraints(min_length=1, max_length=35, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
_Memo = Annotated[str, StringConstraints(min_length=1, max_length=140, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class TransferRequest(BaseModel):
    """Move money between two accounts of ours."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {"account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 2500},
                {
                    "account_id": "acct_123",
                    "destination_account_id": "acct_456",
                    "amount_cents": 2500,
                    "currency": "USD",
                    "reference": "INV-2041",
                    "memo": "Top up the savings account",
                },
            ]
        },
    )

    account_id: _Id = Field(description="The account that the money leaves; one that is mirrored and open.")
    destination_account_id: _Id = Field(description="The account that it goes to; one that is mirrored and open.")
    amount_cents: int = Field(
        gt=0,
        lt=AMOUNT_MINOR_LIMIT,
        description="How much, as a whole number of minor units of the account's currency: cents for USD, yen for JPY.",
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = Field(
        None,
        description="The account's currency, as a check. Another one is refused; nothing is ever converted.",
    )
    reference: _Reference | None = Field(
        None, description="Your own reference, e.g. an invoice number. Kept here only."
    )
    memo: _Memo | None = Field(None, description="A note for people. Kept here only.")

    def fingerprint(self, currency: str) -> bytes:
        """SHA-256 of what is asked for, whatever the order and spelling of the JSON; `currency` is the
        account's.
        """
        asked = {**self.model_dump(), "currency": self.currency or currency}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()


def parse_request(headers: Mapping[str, str], body: bytes) -> TransferRequest:
    """The request in a body. Raises the Problem that says what is wrong, never repeating what was sent.

    `headers` are found by their names in lower case.
    """
    _require_plain_json(headers)
    if len(body) > BODY_BYTES_MAX:
        raise errors.PayloadTooLarge(f"at most {BODY_BYTES_MAX} bytes")
    try:
        document = parse(body)
    except NotStrictJSONError:
        raise errors.MalformedBody("not JSON in UTF-8 with unique keys") from None
    try:
        request = TransferRequest.model_validate(document)
    except ValidationError as error:
        listed = [
            {
                "pointer": "".join(f"/{_escape(step)}" for step in item["loc"]),
                "in": "body",
                "detail": reason(item),
            }
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise errors.ValidationFailed(
            f"{listed[0]['pointer'] or 'body'}: {listed[0]['detail']}", errors=listed
        ) from None
    if request.account_id == request.destination_account_id:
        raise errors.ValidationFailed.at("/destination_account_id", "is the account that the money comes from")
    return request


def _require_plain_json(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMediaType for what we would only read by guessing: another type, packed, another charset."""
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    if kind != "application/json":
        raise errors.UnsupportedMediaType()
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise errors.UnsupportedMediaType("send the body as it is, without Content-Encoding")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8"):
            raise errors.UnsupportedMediaType("send the body in UTF-8")


def _escape(step: int | str) -> str:
    """A name as a step of a JSON pointer.

    A client's own unknown field is named back to it, in bounded length.
    """
    return str(step)[:64].replace("~", "~0").replace("/", "~1")


def parse_key(sent: Sequence[str], *, live: bool) -> str | None:
    """The idempotency key, from all headers of that name; None where none is needed. Raises a Problem."""
    match sent:
        case [] if live:
            raise errors.IdempotencyKeyMissing()
        case []:
            return None
        case [key] if _KEY.fullmatch(key):
            if live and len(key) < _LIVE_KEY_MIN:
                raise errors.IdempotencyKeyInvalid(
                    f"an Idempotency-Key has at least {_LIVE_KEY_MIN} characters, so that it is unique"
                )
            return key
        case _:
            raise errors.IdempotencyKeyInvalid()


def differing_fields(request: TransferRequest, stored: Mapping[str, Any]) -> list[str]:
    """The JSON pointers of what a request asks for differently than the stored one with its key."""
    asked = request.model_dump()
    if request.currency is None:
        asked["currency"] = stored["currency"]
    return [f"/{name}" for name, value in asked.items() if value != stored[name]]
