"""Who may move money, from which accounts, and whose transfers they see."""

import httpx
import pytest

from tests.integration.access.giving import Given, give, revoke, rotate
from tests.integration.transfers.conftest import BODY, Books, Start
from tests.integration.transfers.model_bank import ModelBank

KEY = {"Idempotency-Key": "a key of somebody's own"}


async def ask(client: httpx.AsyncClient, given: Given, **changed: object) -> httpx.Response:
    return await client.post("/banking/transfer", json={**BODY, **changed}, headers={**KEY, **given.headers})


async def test_s2_moving_money_takes_a_scope(start: Start, seeded: str, books: Books, bank: ModelBank) -> None:
    """403 names it, and nothing is written but one audit event, however often it is tried."""
    client = await start()
    reader = await give(seeded, "read", "admin")

    for _ in range(3):
        refused = await ask(client, reader)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
        assert refused.json()["needs"] == "transfer:request"
    assert (await client.get("/metrics", headers=reader.headers)).status_code == 200

    assert await books.transfers() == []
    refusals = await books.rows("SELECT actor, payload FROM audit.events WHERE action = 'access.refused'")
    assert refusals == [{"actor": reader.token.token_id, "payload": {"needs": "transfer:request"}}]


async def test_s1_a_token_that_is_not_good_moves_nothing(start: Start, seeded: str, books: Books) -> None:
    """Nor does one without its token get in where none is needed from others."""
    client = await start()
    given = await give(seeded, "transfer:request")
    assert (await ask(client, given)).status_code == 200
    await revoke(seeded, given)

    for headers in (
        given.headers,
        {"Authorization": "Bearer x"},
        {"Authorization": given.headers["Authorization"][:-1]},
    ):
        refused = await client.post("/banking/transfer", json=BODY, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json()["type"] == "/problems/unauthenticated"
    assert len(await books.transfers()) == 1


async def test_s3_an_account_out_of_scope_is_none(start: Start, seeded: str, bank: ModelBank) -> None:
    """Money leaves only accounts that the token names; any other is to it one that does not exist."""
    client = await start()
    given = await give(seeded, "transfer:request", accounts=["acct_456"])

    told = []
    for account_id in ("acct_123", "acct_none"):
        answer = await ask(client, given, account_id=account_id)
        told.append((answer.status_code, {**answer.json(), "instance": None}))
    assert told[0] == told[1]
    assert told[0][0] == 422
    assert bank.posts == []
    own = await ask(client, given, account_id="acct_456", destination_account_id="acct_123")
    assert own.status_code == 200


async def test_s3_a_transfer_of_another_account_is_none(start: Start, seeded: str) -> None:
    """404, as for an id that nobody ever had."""
    client = await start()
    transfer_id = (await ask(client, await give(seeded, "transfer:request"))).json()["transfer_id"]
    own, other = [await give(seeded, "transfer:request", accounts=[account]) for account in ("acct_123", "acct_456")]
    absent = f"{transfer_id[:-4]}0000"

    async def get(given: Given, name: str) -> tuple[int, dict[str, object], list[str]]:
        answer = await client.get(f"/banking/transfers/{name}", headers=given.headers)
        return answer.status_code, {**answer.json(), "instance": None}, sorted(answer.headers)

    assert (await get(own, transfer_id))[0] == 200
    assert await get(other, transfer_id) == await get(other, absent)
    assert (await get(other, absent))[0] == 404


async def test_a_rotated_token_means_the_same_transfers(start: Start, seeded: str, books: Books) -> None:
    """A client that was given a new token, and is not sure whether it paid, does not pay twice."""
    client = await start()
    given = await give(seeded, "transfer:request")
    first = await ask(client, given)

    second = await ask(client, await rotate(seeded, given))

    assert second.json()["transfer_id"] == first.json()["transfer_id"]
    assert (await books.transfer())["principal"] == given.token.token_id


async def test_i4_two_tokens_are_two_principals(start: Start, seeded: str, books: Books) -> None:
    """The same key of another holder is another transfer."""
    client = await start()
    for _ in range(2):
        assert (await ask(client, await give(seeded, "transfer:request"))).status_code == 200

    assert len({row["principal"] for row in await books.transfers()}) == 2


async def test_a_token_has_its_limits_here_too(start: Start, seeded: str) -> None:
    """429 with the time to wait; each answer says what is left."""
    client = await start()
    given = await give(seeded, "admin", requests_per_minute=1)

    answers = [await client.get("/metrics", headers=given.headers) for _ in range(3)]

    # A minute may have begun in between.
    assert {answer.status_code for answer in answers} == {200, 429}
    assert answers[0].headers["ratelimit"].startswith('"read";r=0;t=')
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["type"] == "/problems/rate-limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


@pytest.mark.parametrize("path", ["//banking/transfer", "/banking//transfer", "/Banking/transfer", "/metrics/"])
async def test_no_other_spelling_leads_in(start: Start, seeded: str, books: Books, path: str) -> None:
    """What does not need the scope is no route."""
    client = await start()
    reader = await give(seeded, "read")

    answer = await client.post(path, json=BODY, headers=reader.headers)

    assert answer.status_code in (403, 404, 405)
    assert await books.transfers() == []
