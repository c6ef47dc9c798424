"""What the mirror must know before money may move, and what ids look like."""

import time

import pytest

from kernel import errors
from transfers.accept import check, uuid7
from transfers.requests import TransferRequest
from transfers.store import Account

ACCOUNTS = {
    name: Account(name, connection, currency, status)
    for name, connection, currency, status in [
        ("usd", "default", "USD", "open"),
        ("usd2", "default", "USD", "open"),
        ("yen", "default", "JPY", "open"),
        ("shut", "default", "USD", "closed"),
        ("far", "other", "USD", "open"),
    ]
}


def request(source: str = "usd", destination: str = "usd2", currency: str | None = None) -> TransferRequest:
    return TransferRequest(account_id=source, destination_account_id=destination, amount_cents=1, currency=currency)


def test_two_open_accounts_of_one_bank_and_currency() -> None:
    """This is what may be paid."""
    assert check(request(), ACCOUNTS, "default").account_id == "usd"
    assert check(request(currency="USD"), ACCOUNTS, "default").currency == "USD"


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        (request(source="nobody"), "/account_id"),
        (request(destination="nobody"), "/destination_account_id"),
        (request(source="shut"), "/account_id"),
        (request(destination="shut"), "/destination_account_id"),
        (request(source="far"), "/account_id"),
        (request(destination="far"), "/destination_account_id"),
        (request(currency="EUR"), "/currency"),
        (request(destination="yen"), "/destination_account_id"),
    ],
)
def test_i7_what_the_mirror_does_not_vouch_for_is_refused(asked: TransferRequest, pointer: str) -> None:
    """I7: unknown, closed, elsewhere, or in another currency: refused, with a pointer."""
    with pytest.raises(errors.ValidationFailed) as refused:
        check(asked, ACCOUNTS, "default")

    assert refused.value.members["errors"][0]["pointer"] == pointer


def test_ids_carry_their_time_and_never_repeat() -> None:
    """RFC 9562: version 7, variant 2, milliseconds first."""
    before = time.time_ns() // 1_000_000
    ids = [uuid7() for _ in range(1000)]
    after = time.time_ns() // 1_000_000

    assert len(set(ids)) == 1000
    assert all(one.version == 7 and one.variant == "specified in RFC 4122" for one in ids)
    assert all(before <= one.int >> 80 <= after for one in ids)
