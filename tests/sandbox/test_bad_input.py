"""Nothing that a client can send makes the bank answer 500, or anything but JSON."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# The bank under test holds no state that an example could spoil for the next one.
_hostile = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_text = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    [
        "acct_123",
        "acct_456",
        "transfer",
        "USD",
        "\x00",
        "\ud800",
        "' OR 1=1 --",
        "2026-01-01",
        "\u202e",
        "%00",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=8,
)
_order = st.fixed_dictionaries(
    {},
    optional={
        "source_account_id": st.just("acct_123") | _json,
        "destination_account_id": st.just("acct_456") | _json,
        "amount_cents": st.integers(-5, 5) | _json,
        "type": st.just("transfer") | _json,
        "currency": st.just("USD") | _json,
        "client_reference": _json,
        "surprise": _json,
    },
)
_parameters = st.dictionaries(
    st.sampled_from(["account_id", "from", "to", "status", "client_reference", "cursor", "limit", "what"]),
    st.binary(max_size=12) | st.sampled_from([b"1", b"500", b"9" * 30, b"2026-02-30", b"0001-01-01", b"9999-12-31"]),
    max_size=5,
)


def check(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    json.loads(response.content)
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


@_hostile
@given(body=_order | _json)
async def test_json_bodies(client: httpx.AsyncClient, body: Any) -> None:
    """Any JSON at all, with any types and any characters, in any place."""
    for path in ("/transactions", "/webhooks"):
        response = await client.post(path, content=json.dumps(body), headers={"Idempotency-Key": "any"})
        check(response)
    assert response.status_code in (201, 400, 422)


@_hostile
@given(body=st.binary(max_size=200))
async def test_bytes_as_bodies(client: httpx.AsyncClient, body: bytes) -> None:
    """Bytes that are no JSON, or no UTF-8."""
    for path in ("/transactions", "/webhooks", "/_admin/settings"):
        check(await client.post(path, content=body, headers={"Idempotency-Key": "any"}))


@_hostile
@given(parameters=_parameters)
async def test_query_parameters(client: httpx.AsyncClient, parameters: dict[str, bytes]) -> None:
    """Any bytes in any query parameter of any list."""
    query = "&".join(name + "=" + "".join(f"%{byte:02x}" for byte in value) for name, value in parameters.items())
    for path in ("/transactions", "/transactions/changes", "/accounts", "/balances"):
        check(await client.get(f"{path}?{query}"))


@_hostile
@given(name=st.binary(min_size=1, max_size=20), key=st.text(st.characters(max_codepoint=255), max_size=40))
async def test_paths_and_keys(client: httpx.AsyncClient, name: bytes, key: str) -> None:
    """Any bytes as an id, any header as a key."""
    quoted = "".join(f"%{byte:02x}" for byte in name)
    for path in (f"/accounts/{quoted}", f"/accounts/{quoted}/balance", f"/transactions/{quoted}"):
        check(await client.get(path))
    check(await client.delete(f"/webhooks/{quoted}"))
    order = {
        "source_account_id": "acct_123",
        "destination_account_id": "x",
        "amount_cents": 1,
        "type": "transfer",
    }
    check(await client.post("/transactions", json=order, headers={b"Idempotency-Key": key.encode("latin-1")}))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"source_account_id":"acct_123","source_account_id":"acct_456"}', 400),
        (b'{"amount_cents": NaN}', 400),
        (b'{"amount_cents": ' + b"9" * 5000 + b"}", 400),
        (b"[" * 60_000, 400),
        (b"\xff\xfe", 400),
        (b"", 400),
        (b'{"client_reference": "\\ud800"}', 422),
        (b'{"\\ud800": 1}', 422),
        (b'{"client_reference": "a\\u0000b"}', 422),
        (b'{"amount_cents": 1.0}', 422),
        (b'{"amount_cents": "1"}', 422),
        (b'{"amount_cents": true}', 422),
        (b"[]", 422),
        (b'"' + b"x" * 1_000_000 + b'"', 413),
    ],
)
async def test_known_bad_bodies(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    """Each kind of bad body has its status."""
    response = await client.post("/transactions", content=body, headers={"Idempotency-Key": "known"})

    check(response)
    assert response.status_code == status


async def test_other_media_types(client: httpx.AsyncClient) -> None:
    """Bodies are JSON, and say so or nothing."""
    headers = {"Idempotency-Key": "media", "Content-Type": "text/xml"}

    assert (await client.post("/transactions", content=b"<a/>", headers=headers)).status_code == 415


async def test_forged_cursors(client: httpx.AsyncClient) -> None:
    """A cursor whose checksum is right and whose content is not is refused all the same."""
    from sandbox import cursors

    forged = [("transactions", "list", ["not a day", "x"]), ("transactions", "list", ["2026-01-01", "a\x00"]),
              ("accounts", "accounts", ["\x00"]),
              ("transactions/changes", "feed", ["1", str(2**63), "0", ""]),
              ("transactions/changes", "feed", ["1", "-1", "0", ""]),
              ("transactions/changes", "feed", ["1", str(2**62), "0", ""])]  # fmt: skip
    for path, kind, parts in forged:
        response = await client.get(f"/{path}", params={"cursor": cursors.encode(kind, *parts)})
        check(response)
        assert response.status_code == 400
