"""What clients are told: acceptance, replay, bad input (I1-I9), and the shape of every answer."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from tests.integration.transfers.conftest import BODY, Books, Start
from tests.integration.transfers.model_bank import ModelBank, Reaction

KEY = {"Idempotency-Key": "a-key-of-this-test"}
TOKEN = "t" * 40


async def test_the_older_contract_is_answered_exactly(start: Start, bank: ModelBank) -> None:
    """DESIGN 7: three keys in, these keys out, whatever follows them."""
    answer = await (await start()).post("/banking/transfer", json=BODY)

    assert answer.status_code == 200
    told = answer.json()
    assert (told["transaction_id"], told["status"], told["logged"]) == ("txn_1", "completed", True)
    assert (told["amount_cents"], told["amount_minor"], told["amount"], told["currency"]) == (
        2500, 2500, "25.00", "USD",
    )  # fmt: skip
    assert answer.headers["Location"] == f"/banking/transfers/{told['transfer_id']}"
    assert "Idempotent-Replayed" not in answer.headers


async def test_p1_a_replay_is_the_same_transfer_as_it_stands_now(start: Start, bank: ModelBank, books: Books) -> None:
    """P1: the first answer was lost. The same key finds the transfer, and its present state, not its first
    one.
    """
    bank.reactions = [Reaction.LOST_AFTER]
    client = await start(transfers_wait_seconds=0)
    first = await client.post("/banking/transfer", json=BODY, headers=KEY)
    assert first.status_code == 202
    await books.until("accepted")

    second = await client.post("/banking/transfer", json=BODY, headers=KEY)

    assert second.status_code == 200
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json()["transfer_id"] == first.json()["transfer_id"]
    assert len(bank.posts) == 1


async def test_a_replay_is_answered_whatever_the_mirror_says_now(start: Start, bank: ModelBank, books: Books) -> None:
    """An account that was closed since does not make a transfer undone."""
    client = await start()
    first = await client.post("/banking/transfer", json=BODY, headers=KEY)
    await books.rows("DELETE FROM snapshot.accounts RETURNING 1")

    second = await client.post("/banking/transfer", json=BODY, headers=KEY)

    assert second.json()["transfer_id"] == first.json()["transfer_id"]
    assert (await client.post("/banking/transfer", json=BODY)).status_code == 422


async def test_without_a_key_every_request_is_another_transfer(start: Start, bank: ModelBank, books: Books) -> None:
    """The sandbox lets clients go without; then nobody can tell a retry from a second payment."""
    client = await start()
    for _ in range(2):
        assert (await client.post("/banking/transfer", json=BODY)).status_code == 200

    assert len(await books.transfers()) == 2


async def test_i1_live_mode_needs_a_key(start: Start, books: Books) -> None:
    """I1: 400 and nothing written; I2: and a long one."""
    client = await start(mode="live", api_token=SecretStr(TOKEN))
    client.headers["Authorization"] = f"Bearer {TOKEN}"

    answer = await client.post("/banking/transfer", json=BODY)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-missing")
    answer = await client.post("/banking/transfer", json=BODY, headers={"Idempotency-Key": "short"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-invalid")
    assert await books.transfers() == []


@pytest.mark.parametrize(
    "headers",
    [
        [("Idempotency-Key", "k" * 256)],
        [("Idempotency-Key", "k" * 20), ("Idempotency-Key", "k" * 20)],
        [("Idempotency-Key", b"\xd0\xba" * 10)],
        [("Idempotency-Key", "")],
    ],
)
async def test_i2_unusable_keys(start: Start, books: Books, headers: Any) -> None:
    """I2: too long, twice, not ASCII, empty."""
    answer = await (await start()).post("/banking/transfer", json=BODY, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-invalid")
    assert await books.transfers() == []


async def test_i3_the_same_key_for_something_else_is_refused(start: Start, bank: ModelBank, books: Books) -> None:
    """I3: 422 that names the fields; the first transfer is untouched, and nothing is sent."""
    client = await start()
    await client.post("/banking/transfer", json=BODY, headers=KEY)
    before = await books.transfers()

    answer = await client.post("/banking/transfer", json={**BODY, "amount_cents": 9900, "memo": "again"}, headers=KEY)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert answer.json()["differs"] == ["/amount_cents", "/memo"]
    assert await books.transfers() == before
    assert len(bank.posts) == 1


async def test_i3_the_same_request_in_other_words_is_a_replay(start: Start, bank: ModelBank) -> None:
    """I3: order, spacing, escapes and the account's own currency change nothing."""
    client = await start()
    first = await client.post("/banking/transfer", json=BODY, headers=KEY)
    text = json.dumps({**dict(reversed(BODY.items())), "currency": "USD"}, indent=3)

    second = await client.post(
        "/banking/transfer", content=text, headers={**KEY, "Content-Type": "application/json; charset=utf-8"}
    )

    assert second.json()["transfer_id"] == first.json()["transfer_id"]


async def test_i4_keys_of_others_are_independent(start: Start, bank: ModelBank, books: Books) -> None:
    """I4: the same key of another principal is another transfer, and neither hears of the other."""
    first = await (await start()).post("/banking/transfer", json=BODY, headers=KEY)
    other = await start(api_token=SecretStr(TOKEN))
    second = await other.post(
        "/banking/transfer",
        json={**BODY, "amount_cents": 1},
        headers={**KEY, "Authorization": f"Bearer {TOKEN}"},
    )

    assert second.status_code == 200
    assert second.json()["transfer_id"] != first.json()["transfer_id"]
    assert {row["principal"] for row in await books.transfers()} == {"sandbox", "token"}


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"amount_cents": 25.0}, "/amount_cents"),
        ({"amount_cents": "1e3"}, "/amount_cents"),
        ({"amount_cents": -5}, "/amount_cents"),
        ({"amount_cents": 10**15}, "/amount_cents"),
        ({"account_id": "nobody"}, "/account_id"),
        ({"account_id": "acct_shut"}, "/account_id"),
        ({"account_id": "other:acct_1"}, "/account_id"),
        ({"destination_account_id": "acct_123"}, "/destination_account_id"),
        ({"destination_account_id": "nobody"}, "/destination_account_id"),
        ({"destination_account_id": "acct_shut"}, "/destination_account_id"),
        ({"destination_account_id": "acct_yen"}, "/destination_account_id"),
        ({"currency": "EUR"}, "/currency"),
        ({"currency": "XXX"}, "/currency"),
        ({"more": 1}, "/more"),
        ({"memo": "nul\x00"}, "/memo"),
        ({"reference": "\ud800"}, "/reference"),
    ],
)
async def test_i5_i6_i7_bad_values_are_refused_with_a_pointer(
    start: Start, books: Books, changed: dict[str, Any], pointer: str
) -> None:
    """I5, I6, I7: 422, where it is, and nothing written."""
    content = json.dumps({**BODY, **changed})
    client = await start()
    answer = await client.post(
        "/banking/transfer", content=content, headers={**KEY, "Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert await books.transfers() == []
    assert await books.rows("SELECT * FROM audit.events") == []


@pytest.mark.parametrize(
    ("content", "content_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-body"),
        (b"", "application/json", 400, "malformed-body"),
        (b'{"account_id": "a", "account_id": "b"}', "application/json", 400, "malformed-body"),
        (b"[" * 60_000, "application/json", 400, "malformed-body"),
        (b"[" * 70_000, "application/json", 413, "payload-too-large"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b"account_id=a", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"[]", "application/json", 422, "validation-failed"),
    ],
)
async def test_i6_bodies_that_are_no_request(
    start: Start, content: bytes, content_type: str, status: int, slug: str
) -> None:
    """I6: each its own problem, and never a 500."""
    client = await start()
    answer = await client.post("/banking/transfer", content=content, headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")


async def test_a_transfer_can_be_followed_from_request_to_settlement(
    start: Start, bank: ModelBank, books: Books
) -> None:
    """GET shows every contact with the bank and every audit event; settled comes from the mirror only."""
    client = await start()
    asked = {**BODY, "memo": "top up", "reference": "INV-1"}
    told = (await client.post("/banking/transfer", json=asked)).json()
    await books.rows(
        "INSERT INTO snapshot.transactions (account_id, transaction_id, amount_minor, currency, status, type,"
        " description, created_at, booked_on, content_hash, run_id) VALUES ('acct_123', %s, -2500, 'USD',"
        " 'posted', 'transfer', '', now(), current_date, '', 1) RETURNING pg_notify('bankmirror_changed', '{}')",
        told["transaction_id"],
    )
    await books.until("settled")

    answer = await client.get(f"/banking/transfers/{told['transfer_id']}")
    history = answer.json()

    assert answer.status_code == 200
    assert (history["state"], history["status"], history["logged"]) == ("settled", "completed", True)
    assert (history["memo"], history["reference"]) == ("top up", "INV-1")
    assert [(attempt["kind"], attempt["verdict"]) for attempt in history["attempts"]] == [("post", "accepted")]
    assert [event["action"] for event in history["events"]] == [
        "transfer.requested",
        "transfer.submitting",
        "transfer.accepted",
        "transfer.settled",
    ]
    assert "top up" not in json.dumps(history["events"])


@pytest.mark.parametrize("amount", [-2499, 2500, -2501])
async def test_another_amount_in_the_mirror_settles_nothing(
    start: Start, bank: ModelBank, books: Books, amount: int
) -> None:
    """Settlement is exact, to the minor unit and the sign."""
    client = await start()
    told = (await client.post("/banking/transfer", json=BODY)).json()
    await books.rows(
        "INSERT INTO snapshot.transactions (account_id, transaction_id, amount_minor, currency, status, type,"
        " description, created_at, booked_on, content_hash, run_id) VALUES ('acct_123', %s, %s, 'USD',"
        " 'posted', 'transfer', '', now(), current_date, '', 1) RETURNING 1",
        told["transaction_id"],
        amount,
    )

    assert await books.rows("SELECT transfer.settle(10) AS settled") == [{"settled": 0}]
    assert (await books.transfer())["state"] == "accepted"


@pytest.mark.parametrize(
    "name",
    [
        "0193e4a8-7c1e-7a52-9d6b-3f1c5e7a9b20",
        "nonsense",
        "%00",
        "../health",
        "0193e4a87c1e7a529d6b3f1c5e7a9b20",
        "0193E4A8-7C1E-7A52-9D6B-3F1C5E7A9B20",
    ],
)
async def test_unknown_transfers_are_not_found(start: Start, name: str) -> None:
    """404, whether the id is absent or no id at all."""
    answer = await (await start()).get(f"/banking/transfers/{name}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_with_a_token_nothing_is_told_without_it(start: Start) -> None:
    """Only liveness, readiness and the description are open."""
    client = await start(api_token=SecretStr(TOKEN))

    for path in ("/metrics", f"/banking/transfers/{uuid4()}"):
        assert (await client.get(path)).status_code == 401
    assert (await client.post("/banking/transfer", json=BODY)).status_code == 401
    for path in ("/health", "/ready"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200


async def test_logged_is_read_from_the_chain(start: Start, bank: ModelBank, seeded: str) -> None:
    """`logged` is not a constant: take the audit rows away, and it is false."""
    client = await start()
    told = (await client.post("/banking/transfer", json=BODY, headers=KEY)).json()
    assert told["logged"] is True

    async with await psycopg.AsyncConnection.connect(seeded) as connection:
        await connection.execute("DELETE FROM audit.events WHERE action = 'transfer.accepted'")

    answer = await client.post("/banking/transfer", json=BODY, headers=KEY)
    assert answer.json()["logged"] is False


async def test_the_interface_is_documented(start: Start) -> None:
    """OpenAPI names the body with examples, the key, and every problem."""
    document = (await (await start()).get("/openapi.json")).json()
    operation = document["paths"]["/banking/transfer"]["post"]

    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["examples"][0] == BODY
    assert body["additionalProperties"] is False
    assert [parameter["name"] for parameter in operation["parameters"]] == ["Idempotency-Key"]
    assert set(operation["responses"]) == {"200", "202", "400", "401", "403", "409", "413", "415", "422", "429", "503"}
    for status, response in operation["responses"].items():
        expected = "application/json" if status < "300" else "application/problem+json"
        assert expected in response["content"], status


async def test_a_client_is_answered_as_soon_as_the_outcome_is_known(start: Start, bank: ModelBank) -> None:
    """The wait ends with the notification of the move, long before its limit or the next look."""
    client = await start(transfers_wait_seconds=50, transfers_poll_seconds=50)

    answer = await client.post("/banking/transfer", json=BODY)

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 25
