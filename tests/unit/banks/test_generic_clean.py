"""Clean pages are read the short way, and what it takes means exactly what the careful way makes of it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banks import generic_clean, generic_rows, strict_json
from banks.generic_clean import CleanChanges

WIRE: dict[str, Any] = {
    "transaction_id": "txn_1",
    "account_id": "acct_123",
    "amount_cents": -1250,
    "currency": "USD",
    "status": "posted",
    "type": "card",
    "description": "CAFÉ ZÜRICH",
    "counterparty": {"name": "Blue Bottle", "account_id": None},
    "created_at": "2026-01-31T23:30:00.500000+02:00",
    "booked_on": "2026-01-31",
    "pending_transaction_id": "txn_0",
    "client_reference": None,
}
Pairs = Sequence[tuple[str, str]]


def written(pairs: Pairs) -> str:
    """An object of members whose values are JSON already, names as often as they are given."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


def row(**raw: str | None) -> str:
    """The golden row with other values as raw JSON; None takes a field away."""
    members = {name: json.dumps(value, ensure_ascii=False) for name, value in WIRE.items()} | raw
    return written([(name, value) for name, value in members.items() if value is not None])


def page(*rows: str, modified: str = "", removed: str = "", cursor: str = '"c1"', more: str = "false") -> bytes:
    """A page of the change feed."""
    members = [
        ("added", f"[{','.join(rows)}]"),
        ("modified", f"[{modified}]"),
        ("removed", f"[{removed}]"),
        ("next_cursor", cursor),
        ("has_more", more),
    ]
    return written(members).encode("utf-8", "surrogatepass")


def listing(*rows: str, cursor: str = "null") -> bytes:
    """A page of a listing."""
    return written([("data", f"[{','.join(rows)}]"), ("next_cursor", cursor)]).encode()


def careful(body: bytes) -> CleanChanges:
    """What the careful way makes of a page of changes; fails where it refuses anything."""
    document = strict_json.parse(body)
    upserts, refused = generic_rows.translate([*document["added"], *document["modified"]], generic_rows.transaction)
    removed, not_removed = generic_rows.translate(document["removed"], generic_rows.removal)
    assert (refused, not_removed) == ([], [])
    return CleanChanges(upserts, removed, document["next_cursor"], document["has_more"])


REMOVAL = '{"transaction_id":"txn_9","account_id":"acct_123"}'
CLEAN = [
    page(),
    page(row()),
    page(row(), row(transaction_id='"txn_2"'), modified=row(amount_cents="0"), removed=REMOVAL, more="true"),
    page(row(counterparty="null", booked_on="null", status='"pending"', pending_transaction_id="null")),
    page(row(status='"pending"')),
    page(row(counterparty='{"name":null,"account_id":"acct_9"}', client_reference='"ref"')),
    page(row(description='"caf\\u00e9 \\ud83d\\ude00 \\"quoted\\" \\/ \\n \\t"')),
    page(row(description='""', type='"a:{}[],b"')),
    page(row(description='"' + "x" * 4096 + '"', amount_cents=str(10**15 - 1))),
    page(row(transaction_id='"' + "é" * 63 + '"', account_id='" padded "')),
    json.dumps(json.loads(page(row(), removed=REMOVAL)), indent=2).encode(),
]


@pytest.mark.parametrize("body", CLEAN)
def test_clean_pages_are_read_the_short_way(body: bytes) -> None:
    """Or it would be of no use; and both ways make the same of them."""
    read = generic_clean.read_changes(body)

    assert read is not None
    assert read == careful(body)


DOUBTFUL = {
    # X1, and names that are there twice: two parsers may disagree on which counts.
    "a name twice in a row": page(row().replace('"amount_cents":-1250', '"amount_cents":1,"amount_cents":-1250')),
    "a null name twice": page(row().replace('"client_reference"', '"client_reference":null,"client_reference"')),
    "a list twice": page(row()).replace(b'"added"', b'"added":[],"added"'),
    "a name twice in a counterparty": page(row(counterparty='{"name":"a","name":"b","account_id":null}')),
    "a counterparty twice": page(row().replace('"counterparty"', '"counterparty":null,"counterparty"')),
    "a name twice in a removal": page(removed=REMOVAL.replace("{", '{"account_id":"other",')),
    "a name twice, once escaped": page(row().replace('"status"', '"st\\u0061tus":"pending","status"')),
    "a name twice beside escaped quotes": page(
        row(description='"\\"\\""').replace('"status"', '"status":"posted","status"')
    ),
    "escaped backslashes that make up for a name": page(
        row(description='"a\\\\"', type='"b\\\\"').replace('"status"', '"client_reference":null,"status"')
    ),
    # Money.
    "a float": page(row(amount_cents="12.5")),
    "a float without a fraction": page(row(amount_cents="12.0")),
    "an exponent": page(row(amount_cents="1e3")),
    "a text": page(row(amount_cents='"12"')),
    "true": page(row(amount_cents="true")),
    "no amount": page(row(amount_cents="null")),
    "too much": page(row(amount_cents=str(10**15))),
    "too little": page(row(amount_cents=str(-(10**15)))),
    "beyond 64 bits": page(row(amount_cents="9" * 30)),
    "beyond what Python reads": page(row(amount_cents="9" * 5000)),
    "NaN": page(row(amount_cents="NaN")),
    "an unknown currency": page(row(currency='"ZZZ"')),
    "gold": page(row(currency='"XAU"')),
    "a small currency": page(row(currency='"usd"')),
    # Text that PostgreSQL cannot hold, or that is cut.
    "NUL": page(row(description='"a\\u0000b"')),
    "half a pair": page(row(description='"\\ud800"')),
    "half a pair in bytes": page(row(description='"\ud800"')),
    "a long text": page(row(description='"' + "x" * 4097 + '"')),
    "a long name": page(row(counterparty='{"name":"' + "x" * 4097 + '","account_id":null}')),
    "no description": page(row(description="null")),
    # Times.
    "posted without a day": page(row(booked_on="null")),
    "no such day": page(row(booked_on='"2026-02-30"')),
    "a week": page(row(booked_on='"2026-W05-6"')),
    "a day of no sane year": page(row(booked_on='"2201-01-01"')),
    "a pending row's bad day": page(row(booked_on='"soon"', status='"pending"')),
    "no offset": page(row(created_at='"2026-01-31T23:30:00"')),
    "no timestamp": page(row(created_at='"yesterday"')),
    "the year 9999": page(row(created_at='"9999-12-31T23:59:59Z"')),
    "the year 1066": page(row(created_at='"1066-10-14T09:00:00Z"')),
    # Fields and the page itself.
    "an unknown field": page(row(more='"x"')),
    "a missing field": page(row(client_reference=None)),
    "an unknown status": page(row(status='"settled"')),
    "a row that is none": page("null"),
    "a bad removal": page(removed='{"transaction_id":"0","account_id":"a"}'),
    "an empty cursor": page(row(), cursor='""'),
    "a cursor that cannot travel": page(row(), cursor='"a\\nb"'),
    "no cursor": page(row(), cursor="null"),
    "more, as a number": page(row(), more="1"),
    "half a page": page(row())[:-1],
    "two pages": page(row()) * 2,
    "a byte order mark": b"\xef\xbb\xbf" + page(row()),
    "Latin-1": page(row()).decode().encode("latin-1"),
    "HTML": b"<html>",
    "nothing": b"",
    "a deep nest": b"[" * 100_000,
}


@pytest.mark.parametrize("body", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_what_is_not_surely_clean_is_left_to_the_careful_way(body: bytes) -> None:
    """Whatever would be refused, mended or read in two ways is not taken here."""
    assert generic_clean.read_changes(body) is None


NO_IDS = ["", " ", "0", "000", "-", "--", ".", "..", " 0 ", "\u00a0", "null", "None", "NULL", "N/A", "NOTPROVIDED",
          "Unknown", "x" * 256, "é" * 128]  # fmt: skip


@pytest.mark.parametrize("field", ["transaction_id", "account_id", "pending_transaction_id", "client_reference"])
@pytest.mark.parametrize("value", NO_IDS)
def test_t8_placeholders_are_left_to_the_careful_way(field: str, value: str) -> None:
    """Alone, first or last on a page; and where the counterparty's account would be."""
    bad, good = row(**{field: json.dumps(value)}), row()

    assert generic_clean.read_changes(page(bad)) is None
    assert generic_clean.read_changes(page(bad, good)) is None
    assert generic_clean.read_changes(page(good, modified=bad)) is None
    assert generic_clean.read_listing(listing(good, bad)) is None
    assert (
        generic_clean.read_changes(page(row(counterparty=f'{{"name":null,"account_id":{json.dumps(value)}}}'))) is None
    )


def test_listings_are_read_the_short_way_too() -> None:
    """With the same rows, and a cursor only where there is one."""
    last, before = generic_clean.read_listing(listing(row())), generic_clean.read_listing(listing(row(), cursor='"c"'))

    assert last is not None
    assert before is not None
    assert last.rows == before.rows == careful(page(row())).upserts
    assert (last.next_cursor, before.next_cursor) == (None, "c")
    assert generic_clean.read_listing(listing(row(), cursor='""')) is None
    assert generic_clean.read_listing(b'{"data":[]}') is None
    assert generic_clean.read_listing(b'{"data":[],"next_cursor":"a","next_cursor":null}') is None


raw_values = st.one_of(
    st.sampled_from(['"posted"', '"pending"', '"USD"', '"JPY"', '"2026-01-31"', '"2026-01-31T00:00:00Z"', "null", '"0"',
                     '"n/a"', "1", "-0", "1.0", "1e2", "true", '"\\u0000"', '"\\ud800"', '"\\\\"', '"\\"', '"é"',
                     '"\u00a0"', '"a\\n0"', '"\\u0030"', "NaN", "[]", "{}"]),
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.integers(-(10**16), 10**16).map(str),
    st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"'),
    st.dates().map(lambda day: f'"{day}"'),
    st.tuples(st.sampled_from(["name", "account_id"]), st.sampled_from(['"x"', "null", '"0"', "1"])).map(
        lambda pair: written([("name", '"a"'), ("account_id", "null"), pair])
    ),
)  # fmt: skip
changes_of_row = st.lists(st.tuples(st.sampled_from([*WIRE, "more"]), raw_values), max_size=3)


@given(
    st.lists(st.tuples(changes_of_row, st.booleans()), max_size=3), st.sampled_from(['"c"', '""', "null", '"\\u0063"'])
)
def test_the_short_way_agrees_with_the_careful_one(changed: list[tuple[Pairs, bool]], cursor: str) -> None:
    """Whatever values are replaced, or named a second time: where the short way takes a page, both make the same."""
    rows = []
    for members, replaces in changed:
        pairs = [(name, json.dumps(value, ensure_ascii=False)) for name, value in WIRE.items()]
        if replaces:
            pairs = [(name, dict(members).get(name, value)) for name, value in pairs]
        else:
            pairs += members
        rows.append(written(pairs))
    body = page(*rows, cursor=cursor)

    read = generic_clean.read_changes(body)

    if read is not None:
        assert read == careful(body)
