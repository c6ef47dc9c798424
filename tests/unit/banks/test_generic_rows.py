"""Every field of the generic contract, every reason to refuse a row, and that nothing else comes out."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banks import generic_rows, strict_json
from banks.ports import FetchedAccount, FetchedBalance, FetchedTransaction, Refused, Removed

WIRE: dict[str, Any] = {
    "transaction_id": "txn_1",
    "account_id": "acct_123",
    "amount_cents": -1250,
    "currency": "USD",
    "status": "posted",
    "type": "card",
    "description": "COFFEE",
    "counterparty": {"name": "Blue Bottle", "account_id": "acct_9"},
    "created_at": "2026-01-31T23:30:00.5+02:00",
    "booked_on": "2026-01-31",
    "pending_transaction_id": "txn_0",
    "client_reference": "tr_7",
}
MISSING = object()


def translated(row: object) -> FetchedTransaction | Refused:
    """A transaction's way through the translation: exactly one thing comes out."""
    good, refused = generic_rows.translate([row], generic_rows.transaction)
    assert len(good) + len(refused) == 1
    return good[0] if good else refused[0]


def changed(**fields: object) -> dict[str, Any]:
    """The golden row with other fields; MISSING takes one away."""
    return {name: value for name, value in {**WIRE, **fields}.items() if value is not MISSING}


def test_every_field_arrives() -> None:
    """Each field goes to its own place, and times keep their moment."""
    row = translated(WIRE)

    assert isinstance(row, FetchedTransaction)
    assert row._replace(content_hash=b"") == FetchedTransaction(
        account_id="acct_123",
        transaction_id="txn_1",
        amount_minor=-1250,
        currency="USD",
        status="posted",
        type="card",
        description="COFFEE",
        counterparty_name="Blue Bottle",
        counterparty_account_id="acct_9",
        client_reference="tr_7",
        pending_transaction_id="txn_0",
        created_at=datetime(2026, 1, 31, 21, 30, 0, 500_000, tzinfo=UTC),
        booked_on=date(2026, 1, 31),
        content_hash=b"",
    )
    assert len(row.content_hash) == 16


def test_what_may_be_missing_may_be_missing() -> None:
    """Nullable fields are None if null, absent or, for links, a placeholder; a pending row has no date."""
    bare = translated(
        changed(
            status="pending",
            booked_on=None,
            counterparty=MISSING,
            pending_transaction_id="0",
            client_reference=None,
            something_new={"from": "the bank"},
        )
    )

    assert isinstance(bare, FetchedTransaction)
    assert (bare.counterparty_name, bare.counterparty_account_id) == (None, None)
    assert (bare.pending_transaction_id, bare.client_reference, bare.booked_on) == (None, None, None)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (-1, "USD"),
        (1, "USD"),
        (0, "USD"),
        (-1250, "JPY"),
        (-1250, "KWD"),
        (-1250, "CLF"),
        (10**15 - 1, "EUR"),
    ],
)
def test_t39_t41_amounts_are_taken_as_they_are(amount: int, currency: str) -> None:
    """The contract has our own units and sign: nothing is scaled by an exponent and nothing negated."""
    row = translated(changed(amount_cents=amount, currency=currency))

    assert isinstance(row, FetchedTransaction)
    assert (row.amount_minor, row.currency) == (amount, currency)


REFUSALS = [
    ("amount_cents", MISSING, "whole number"),
    ("amount_cents", None, "whole number"),
    ("amount_cents", True, "whole number"),
    ("amount_cents", 12.5, "whole number"),
    ("amount_cents", Decimal("12.0"), "whole number"),
    ("amount_cents", "1250", "whole number"),
    ("amount_cents", 10**15, "larger than"),
    ("amount_cents", -(10**15), "larger than"),
    ("amount_cents", 2**63, "larger than"),
    ("currency", MISSING, "three letters"),
    ("currency", "", "three letters"),
    ("currency", "USDT", "three letters"),
    ("currency", 840, "three letters"),
    ("currency", "usd", "unknown"),
    ("currency", "ZZZ", "unknown"),
    ("currency", "XAU", "unknown"),
    ("status", MISSING, "neither posted nor pending"),
    ("status", "settled", "neither posted nor pending"),
    ("status", ["posted"], "neither posted nor pending"),
    ("type", None, "type is not a text"),
    ("description", MISSING, "description is not a text"),
    ("description", 5, "description is not a text"),
    ("counterparty", "Blue Bottle", "counterparty is not an object"),
    ("counterparty", {"name": 5}, "name is not a text"),
    ("counterparty", {"account_id": 5}, "account_id is not an id"),
    ("booked_on", None, "posted, but booked_on is missing"),
    ("booked_on", MISSING, "posted, but booked_on is missing"),
    ("booked_on", "2026-02-30", "not a date"),
    ("booked_on", "20260131", "not a date"),
    ("booked_on", "2026-W05-6", "not a date"),
    ("booked_on", "2026-01-31T00:00:00Z", "not a date"),
    ("booked_on", "infinity", "not a date"),
    ("booked_on", "10000-01-01", "not a date"),
    ("booked_on", "1900-01-01", "not a date"),
    ("booked_on", "2201-01-01", "not a date"),
    ("booked_on", 20260131, "not a date"),
    ("created_at", MISSING, "not a timestamp"),
    ("created_at", 1_769_000_000, "not a timestamp"),
    ("created_at", "yesterday", "not a timestamp"),
    ("created_at", "infinity", "not a timestamp"),
    ("created_at", "10000-01-01T00:00:00Z", "not a timestamp"),
    ("created_at", "2026-01-31T23:30:00", "no offset"),
    ("created_at", "1066-10-14T09:00:00Z", "no sane year"),
    ("created_at", "9999-12-31T23:59:59Z", "no sane year"),
    ("pending_transaction_id", 7, "not an id"),
    ("pending_transaction_id", "é" * 128, "not an id"),
    ("client_reference", "x" * 256, "not an id"),
    ("client_reference", "a\0b", "not an id"),
]


@pytest.mark.parametrize(("field", "value", "reason"), REFUSALS)
def test_what_cannot_be_translated_exactly_is_refused(field: str, value: object, reason: str) -> None:
    """A refused row says why, whose it is, and keeps what came."""
    row = changed(**{field: value})

    refused = translated(row)

    assert isinstance(refused, Refused)
    assert reason in refused.reason
    assert refused.account_id == "acct_123"
    assert json.loads(refused.raw) == json.loads(json.dumps(row, default=str))


PLACEHOLDERS = [
    "",
    " ",
    "0",
    "000",
    "-",
    "--",
    ".",
    "..",
    "\u00a0",
    "null",
    "None",
    "NULL",
    "N/A",
    "NOTPROVIDED",
]
NO_IDS = [MISSING, None, 0, 7, True, [], {}, "a\0b", "\ud800", "x" * 256, "é" * 128, *PLACEHOLDERS]


@pytest.mark.parametrize("field", ["transaction_id", "account_id"])
@pytest.mark.parametrize("value", NO_IDS)
def test_t8_placeholders_are_no_ids(field: str, value: object) -> None:
    """What stands where an id is missing never becomes a key, which many rows would share."""
    refused = translated(changed(**{field: value}))

    assert isinstance(refused, Refused)
    assert refused.reason == f"{field} is missing, a placeholder or not an id"
    assert refused.account_id == ("" if field == "account_id" else "acct_123")


@pytest.mark.parametrize("value", ["x", "0x0", "10", "é" * 127, " padded ", "e\u0301", "a/b?c#d", "x" * 255])
def test_x8_ids_are_opaque(value: str) -> None:
    """Any other id stays as it is, to the byte: not trimmed, not normalised."""
    row = translated(changed(transaction_id=value))

    assert isinstance(row, FetchedTransaction)
    assert row.transaction_id == value


@pytest.mark.parametrize("row", [None, 5, "row", [], True, Decimal("1")])
def test_a_row_that_is_no_object_is_refused(row: object) -> None:
    """It is nobody's, and still does not disappear."""
    assert translated(row) == Refused("", "the row is not an object", json.dumps(row, default=str).encode())


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("nul\0here", "nul\ufffdhere"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("whole \U0001f600 pair", "whole \U0001f600 pair"),
        ("bidi \u202e stays", "bidi \u202e stays"),
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, "x" * 4095 + "…"),
    ],
)
def test_x5_x6_x7_texts_are_stored_as_far_as_they_can_be(text: str, stored: str) -> None:
    """A text is never the reason to refuse a row of money, nor to fail on storing it."""
    row = translated(changed(description=text, type=text, counterparty={"name": text}))

    assert isinstance(row, FetchedTransaction)
    assert (row.description, row.type, row.counterparty_name) == (stored, stored, stored)


def test_raw_is_bounded() -> None:
    """A bank cannot fill the quarantine with one row."""
    refused = translated(changed(amount_cents="no", description="x" * 200_000))

    assert isinstance(refused, Refused)
    assert len(refused.raw) == 65_536


@pytest.mark.parametrize("depth", [10, 500, *range(900, 1000, 7)])
def test_deep_nesting_is_refused_row_or_page(depth: int) -> None:
    """However deep an unknown field is nested, something is refused, and nothing else is raised."""
    body = json.dumps(changed(amount_cents="no"))[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
    try:
        row = strict_json.parse(body.encode())
    except strict_json.NotStrictJSONError:
        return

    assert isinstance(translated(row), Refused)


def test_accounts() -> None:
    """Accounts have a known status and currency."""
    wire = {"account_id": "a", "name": "Ops", "type": "checking", "currency": "JPY", "status": "closed"}

    rows, refused = generic_rows.translate(
        [wire, wire | {"status": "frozen"}, wire | {"currency": "???"}, wire | {"name": None}],
        generic_rows.account,
    )

    assert rows == [FetchedAccount("a", "Ops", "checking", "JPY", "closed")]
    assert [row.reason for row in refused] == [
        "status is neither open nor closed",
        "the currency is unknown",
        "name is not a text",
    ]


def test_t45_a_missing_balance_is_not_zero() -> None:
    """Available may be unsaid and stays unsaid; without a current balance or its time there is no balance."""
    wire = {"account_id": "a", "currency": "KWD", "current_cents": -5, "as_of": "2026-01-01T00:00:00Z"}

    rows, refused = generic_rows.translate(
        [
            wire,
            wire | {"available_cents": None},
            wire | {"available_cents": 0},
            wire | {"current_cents": None},
            wire | {"available_cents": 0.5},
            wire | {"as_of": None},
        ],
        generic_rows.balance,
    )

    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    assert rows == [FetchedBalance("a", "KWD", -5, available, as_of) for available in (None, None, 0)]
    assert len(refused) == 3


def test_removals() -> None:
    """A removal names a transaction and its account, or is refused."""
    rows, refused = generic_rows.translate(
        [{"account_id": "a", "transaction_id": "t"}, {"account_id": "a", "transaction_id": "0"}],
        generic_rows.removal,
    )

    assert rows == [Removed("a", "t")]
    assert [row.account_id for row in refused] == ["a"]


def hash_of(**fields: object) -> bytes:
    """The content hash of the golden row with other fields."""
    row = translated(changed(**fields))
    assert isinstance(row, FetchedTransaction)
    return row.content_hash


def test_the_hash_sees_every_field() -> None:
    """Whatever changes at the bank changes the hash."""
    variants = {
        hash_of(),
        hash_of(account_id="acct_124"),
        hash_of(transaction_id="txn_2"),
        hash_of(amount_cents=-1251),
        hash_of(currency="EUR"),
        hash_of(status="pending"),
        hash_of(type="transfer"),
        hash_of(description="COFFEE "),
        hash_of(counterparty=None),
        hash_of(counterparty={"name": "Blue Bottle", "account_id": None}),
        hash_of(counterparty={"name": None, "account_id": "acct_9"}),
        hash_of(counterparty={"name": "", "account_id": "acct_9"}),
        hash_of(client_reference=None),
        hash_of(pending_transaction_id=None),
        hash_of(client_reference="txn_0", pending_transaction_id="tr_7"),
        hash_of(created_at="2026-01-31T23:30:00.500001+02:00"),
        hash_of(booked_on="2026-02-01"),
        hash_of(status="pending", booked_on=None),
    }

    assert len(variants) == 18


def test_the_hash_does_not_see_how_the_bank_spells() -> None:
    """The same content in another spelling, with unknown fields or in another release is no change."""
    assert hash_of(created_at="2026-01-31T21:30:00.500000Z") == hash_of() == hash_of(new_field=[1])
    assert hash_of().hex() == "d436375013c0ce52388362628a0190b7"


ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


@given(
    ids.map("id:{}".format),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.sampled_from(["USD", "JPY", "KWD", "CLF"]),
    texts,
    st.none() | texts,
    st.none() | ids.map("id:{}".format),
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001  The bounds are naive by Hypothesis's rule.
    st.none() | st.dates(date(1970, 1, 1), date(2200, 12, 31)),
)
def test_what_the_contract_can_say_comes_through(
    identifier: str,
    amount: int,
    currency: str,
    text: str,
    name: str | None,
    link: str | None,
    moment: datetime,
    day: date | None,
) -> None:
    """Through JSON and the translation, every value comes out as it went in."""
    wire = {
        "transaction_id": identifier,
        "account_id": identifier,
        "amount_cents": amount,
        "currency": currency,
        "status": "pending" if day is None else "posted",
        "type": text,
        "description": text,
        "counterparty": {"name": name, "account_id": link},
        "created_at": moment.isoformat(),
        "booked_on": None if day is None else day.isoformat(),
        "pending_transaction_id": link,
        "client_reference": link,
    }

    row = translated(strict_json.parse(json.dumps(wire).encode()))

    status = "pending" if day is None else "posted"
    assert isinstance(row, FetchedTransaction)
    assert row[:-1] == (
        identifier, identifier, amount, currency, status, text, text, name, link, link, link, moment, day,
    )  # fmt: skip


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters())
    | st.sampled_from(["posted", "USD", "2026-01-31", "2026-01-31T00:00:00Z", "\ud800", "\0", "0", "é" * 200]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(WIRE)), json_values))
def test_nothing_that_json_can_hold_raises(fields: dict[str, Any]) -> None:
    """Any value in any field gives a row that can be stored, or a refusal."""
    row = translated({**WIRE, **fields})

    if isinstance(row, Refused):
        assert row.raw
        row.account_id.encode()
    else:
        stored = [value for value in row if isinstance(value, str)]
        assert all("\0" not in value and value.encode() for value in stored if value)


@given(json_values)
def test_nothing_that_json_can_hold_raises_as_a_row(row: object) -> None:
    """Nor does anything in place of a row, for any kind of row."""
    for translation in (
        generic_rows.transaction,
        generic_rows.account,
        generic_rows.balance,
        generic_rows.removal,
    ):
        good, refused = generic_rows.translate([row], translation)
        assert (len(good), len(refused)) == (0, 1)
