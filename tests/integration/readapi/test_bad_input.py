"""Nothing that a client can send is a 500, and nothing that is misspelt is quietly ignored."""

import httpx
import pytest

from tests.integration.readapi.mirror import Mirror, asking

TRANSACTIONS = "/banking/accounts/acct_1/transactions"
CAN_PAY = "/banking/can-pay?account_id=acct_1&currency=USD"
DIFF = "/banking/diff?known_from=2026-01-01T00:00:00Z"


@pytest.fixture
def one_account(mirror: Mirror) -> Mirror:
    """An account, so that not everything is a 404."""
    mirror.account("acct_1")
    return mirror


@pytest.mark.parametrize(
    ("url", "status", "named"),
    [
        (f"{TRANSACTIONS}?form=2026-01-01", 422, "form"),
        ("/banking/accounts?limit=1&stauts=open", 422, "stauts"),
        ("/banking/accounts/acct_1?fields=nme", 422, "fields"),
        ("/banking/accounts/acct_1?fields=", 422, "fields"),
        ("/banking/accounts/acct_1?fields=name,", 422, "fields"),
        ("/banking/accounts/acct_1?fields=balance.x", 422, "fields"),
        ("/banking/accounts/acct_1/activity?fields=id,x", 422, "fields"),
        (f"{TRANSACTIONS}?fields=" + "amount," * 300, 422, "fields"),
        (f"{TRANSACTIONS}?sort=created", 422, "sort"),
        (f"{TRANSACTIONS}?sort=%2Bcreated_at", 422, "sort"),
        (f"{TRANSACTIONS}?sort=-description", 422, "sort"),
        (f"{TRANSACTIONS}?text=", 422, "text"),
        (f"{TRANSACTIONS}?text=a%00b", 422, "text"),
        (f"{TRANSACTIONS}?counterparty=" + "x" * 141, 422, "counterparty"),
        (f"{TRANSACTIONS}?lapsed=1", 422, "lapsed"),
        (f"{TRANSACTIONS}?currency=USD", 422, "currency"),
        ("/banking/transactions?account_id=", 422, "account_id"),
        ("/banking/transactions?currency=ZZZ", 422, "currency"),
        ("/banking/transactions?text=a&known_at=2999-01-01T00:00:00Z", 422, "known_at"),
        ("/banking/activity-summary?top=0", 422, "top"),
        ("/banking/activity-summary?top=21", 422, "top"),
        ("/banking/accounts/acct_1/activity-summary?account_id=acct_1", 422, "account_id"),
        ("/banking/accounts/acct_1/activity-summary?from=2026-02-01&to=2026-01-01", 422, "query"),
        ("/banking/cash-position?status=all", 422, "status"),
        ("/banking/cash-position?known_at=2026-01-01T00:00:00Z", 422, "known_at"),
        ("/banking/accounts/acct_1/balance/explain?from=yesterday", 422, "from"),
        ("/banking/accounts/acct_1/balance/explain?limit=501", 422, "limit"),
        (f"{CAN_PAY}", 422, "amount"),
        (f"{CAN_PAY}&amount=1&amount_minor=100", 422, "amount"),
        (f"{CAN_PAY}&amount_minor=0", 422, "amount_minor"),
        (f"{CAN_PAY}&amount=0.00", 422, "amount"),
        (f"{CAN_PAY}&amount=0.001", 422, "amount"),
        (f"{CAN_PAY}&amount=-1", 422, "amount"),
        (f"{CAN_PAY}&amount=1e3", 422, "amount"),
        (f"{CAN_PAY}&amount=1,00", 422, "amount"),
        (f"{CAN_PAY}&amount=\u0661", 422, "amount"),
        (f"{CAN_PAY}&amount=NaN", 422, "amount"),
        (f"{CAN_PAY}&amount=" + "9" * 30, 422, "amount"),
        (f"{CAN_PAY}&amount_minor=-1", 422, "amount_minor"),
        (f"{CAN_PAY}&amount_minor=1000000000000000", 422, "amount_minor"),
        ("/banking/can-pay?currency=USD&amount=1", 422, "account_id"),
        ("/banking/can-pay?account_id=acct_1&amount=1", 422, "currency"),
        (f"{TRANSACTIONS}/tx_1?x=1", 422, "x"),
        (f"{TRANSACTIONS}?limit=0", 422, "limit"),
        (f"{TRANSACTIONS}?limit=501", 422, "limit"),
        (f"{TRANSACTIONS}?limit=ten", 422, "limit"),
        (f"{TRANSACTIONS}?limit=1_0", 422, "limit"),
        (f"{TRANSACTIONS}?limit=%201", 422, "limit"),
        (f"{TRANSACTIONS}?limit=1.0", 422, "limit"),
        (f"{TRANSACTIONS}?limit=\u0661", 422, "limit"),
        (f"{TRANSACTIONS}?limit=" + "9" * 5000, 422, "limit"),
        (f"{TRANSACTIONS}?limit=1&limit=2", 422, "limit"),
        (f"{TRANSACTIONS}?limit=1&%6Cimit=2", 422, "limit"),
        (f"{TRANSACTIONS}?from=2026-02-30", 422, "from"),
        (f"{TRANSACTIONS}?from=20260101", 422, "from"),
        (f"{TRANSACTIONS}?from=1767225600", 422, "from"),
        (f"{TRANSACTIONS}?from=2026-01-01T00:00:00", 422, "from"),
        (f"{TRANSACTIONS}?from=infinity", 422, "from"),
        (f"{TRANSACTIONS}?from=\u0662026-01-01", 422, "from"),
        (f"{TRANSACTIONS}?from=2026-02-01&to=2026-01-01", 422, "query"),
        (f"{TRANSACTIONS}?min_amount_minor=2&max_amount_minor=1", 422, "query"),
        (f"{TRANSACTIONS}?min_amount_minor=-1", 422, "min_amount_minor"),
        (f"{TRANSACTIONS}?min_amount_minor=1e3", 422, "min_amount_minor"),
        (f"{TRANSACTIONS}?min_amount_minor=1.5", 422, "min_amount_minor"),
        (f"{TRANSACTIONS}?max_amount_minor=99999999999999999999", 422, "max_amount_minor"),
        (f"{TRANSACTIONS}?status=booked", 422, "status"),
        (f"{TRANSACTIONS}?type=a%00b", 422, "type"),
        (f"{TRANSACTIONS}?counterparty_account_id=%00", 422, "counterparty_account_id"),
        ("/banking/accounts?currency=usd", 422, "currency"),
        ("/banking/accounts?currency=ZZZ", 422, "currency"),
        ("/banking/balances?currency=ZZZ", 422, "currency"),
        ("/banking/cash-flow?currency=XXX", 422, "currency"),
        ("/banking/cash-flow?group=year", 422, "group"),
        ("/banking/accounts/a%00b", 422, "account_id"),
        ("/banking/accounts/acct_1/transactions/%00", 422, "transaction_id"),
        ("/banking/accounts/" + "x" * 2701, 422, "account_id"),
        (f"{TRANSACTIONS}?cursor=", 422, "cursor"),
        (f"{TRANSACTIONS}?known_at=2026-01-01", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=2026-01-01T00:00:00", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=2026-01-01T00:00:00+01:00", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=2026-02-30T00:00:00Z", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=2026-01-01T00:00:60Z", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=0000-01-01T00:00:00Z", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=1767225600", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=infinity", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=now", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=2999-01-01T00:00:00Z", 422, "known_at"),
        (f"{TRANSACTIONS}?known_at=9999-12-31T23:59:59-23:59", 422, "known_at"),
        (f"{TRANSACTIONS}?as_of=yesterday", 422, "as_of"),
        ("/banking/balances?as_of=2026-W01-1T00:00:00Z", 422, "as_of"),
        ("/banking/balances?known_at=2999-01-01T00:00:00Z", 422, "known_at"),
        ("/banking/accounts/acct_1/balances?known_at=2999-01-01T00:00:00Z", 422, "known_at"),
        ("/banking/cash-flow?known_at=2999-01-01T00:00:00Z", 422, "known_at"),
        ("/banking/diff?known_to=2026-01-01T00:00:00Z", 422, "known_from"),
        (f"{DIFF}&known_to=2999-01-01T00:00:00Z", 422, "known_to"),
        (f"{DIFF}&known_to=2025-12-31T23:59:59Z", 422, "query"),
        (f"{DIFF}&known_to=2026-01-01T00:59:59%2B01:00", 422, "query"),
        (f"{DIFF}&known_to=2026-01-02T00:00:00Z&from=2026-01-02&to=2026-01-01", 422, "query"),
    ],
)
async def test_what_cannot_be_meant(
    one_account: Mirror, client: httpx.AsyncClient, url: str, status: int, named: str
) -> None:
    """422, and the problem points at the parameter."""
    response = await client.get(url)

    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert [error["pointer"] for error in response.json()["errors"]] == [named]
    assert named in response.json()["detail"]
    assert "pattern" not in response.text, "a regular expression tells a client nothing"


@pytest.mark.parametrize(
    "url",
    [
        "/banking/accounts/none",
        "/banking/accounts/none/activity",
        "/banking/accounts/none/transactions",
        "/banking/accounts/none/balances",
        "/banking/cash-flow?account_id=none",
        "/banking/sync?account_id=none",
        "/banking/accounts/acct_1/transactions/none",
        "/banking/accounts/%FF%FE",
        "/banking/accounts/%ED%A0%80",
        "/banking/accounts/acct_1%20",
        "/banking/accounts/ACCT_1",
        "/banking/accounts/'%20OR%201=1--",
        "/banking/accounts/",
        "/banking/accounts/acct_1/",
        "/banking",
    ],
)
async def test_what_is_not_there(one_account: Mirror, client: httpx.AsyncClient, url: str) -> None:
    """404 for every spelling of nothing; no redirect."""
    response = await client.get(url)

    assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/banking/accounts/none", "account"),
        ("/banking/accounts/none/activity", "account"),
        ("/banking/cash-flow?account_id=none", "account"),
        ("/banking/accounts/acct_1/transactions/none", "transaction"),
        ("/problems/none", "problem type"),
    ],
)
async def test_what_is_missing_is_named(one_account: Mirror, client: httpx.AsyncClient, url: str, kind: str) -> None:
    """The kind of thing, and not the id, which is whatever somebody typed."""
    assert (await client.get(url)).json()["detail"].startswith(f"no {kind} has this")


async def test_the_start_is_the_documentation(client: httpx.AsyncClient) -> None:
    """By a relative address: it holds behind any host, port and prefix."""
    response = await client.get("/")

    assert (response.status_code, response.headers["location"]) == (307, "docs")


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%F0%9F%98%80", "A" * 7999, "_-_-", "AQ==", "null", "[]", "'"])
async def test_cursors_that_nobody_made(one_account: Mirror, client: httpx.AsyncClient, cursor: str) -> None:
    """400, whatever it is."""
    response = await client.get(f"{TRANSACTIONS}?cursor={cursor}")

    assert (response.status_code, response.json()["type"]) == (400, "/problems/cursor-invalid")


async def test_odd_ids_are_found_as_they_are(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Ids are opaque: composed and decomposed accents differ, and nothing is trimmed or folded."""
    for account_id in ("é", "e\u0301", "a b", "a+b", "a%b", "conn:a", "\U0001f600", "..;", "a\u202eb"):
        mirror.account(account_id, name=account_id)
        path = httpx.URL("http://127.0.0.1").copy_with(path=f"/banking/accounts/{account_id}")
        response = await client.get(path)

        assert response.status_code == 200, account_id
        assert response.json()["data"]["account_id"] == account_id


async def test_a_long_name_is_not_sent_back(client: httpx.AsyncClient) -> None:
    """A parameter that is not known is named in short, whatever its length."""
    response = await client.get(f"/banking/accounts?{'x' * 5000}=1")

    assert (response.status_code, len(response.content) < 1000) == (422, True)
    assert response.json()["errors"][0]["pointer"] == "x" * 99 + "…"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{CAN_PAY}&amount=12,000", "amount: should be a decimal number in major units, as 12000.00"),
        (f"{CAN_PAY}&amount=0.001", "amount: USD has 2 decimal places"),
        (f"{CAN_PAY}&amount=0", "amount: must be above zero"),
        ("/banking/can-pay?account_id=a&currency=usd&amount=1", "currency: should be three capital letters, as USD"),
    ],
)
async def test_the_form_that_is_expected_is_told(client: httpx.AsyncClient, url: str, expected: str) -> None:
    """So that whoever wrote it can mend it."""
    assert (await client.get(url)).json()["detail"] == expected


async def test_a_slash_too_many_leads_to_the_page(client: httpx.AsyncClient) -> None:
    """Relative, so that it holds behind any address."""
    for path in ("/docs/", "/problems/"):
        response = await client.get(path, follow_redirects=False)

        assert (response.status_code, response.headers["location"]) == (307, f"..{path.rstrip('/')}")


async def test_other_methods(one_account: Mirror, client: httpx.AsyncClient) -> None:
    """Only GET and HEAD. HEAD is GET without its body, with the same headers."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        response = await client.request(method, "/banking/accounts", content=b"{}")
        assert (response.status_code, response.json()["type"]) == (405, "/problems/method-not-allowed")
        assert response.headers["allow"] == "GET"
    got, head = await client.get("/banking/accounts"), await client.head("/banking/accounts")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert (await client.head("/banking/accounts/none")).status_code == 404


async def test_sizes_are_bounded(client: httpx.AsyncClient) -> None:
    """A long address and a large body end before anything is looked at."""
    long = await client.get("/banking/accounts?currency=" + "x" * 40_000)
    large = await client.request("GET", "/banking/accounts", content=b"x" * 70_000)

    assert (long.status_code, long.json()["type"]) == (414, "/problems/uri-too-long")
    assert (large.status_code, large.json()["type"]) == (413, "/problems/payload-too-large")


async def test_a_problem_names_the_request(client: httpx.AsyncClient) -> None:
    """The id in the answer's header is the one in the problem, and in the log."""
    response = await client.get("/banking/accounts/none")

    assert response.json()["instance"] == f"urn:uuid:{response.headers['request-id']}"


async def test_a_token_is_asked_for(mirror: Mirror) -> None:
    """With a token set, nothing but health and documentation answers without it; refusals carry an id too."""
    mirror.account("acct_1")
    token = "t" * 32
    async with asking(mirror.url, api_token=token) as client:
        refused = await client.get("/banking/accounts")
        wrong = await client.get("/banking/accounts", headers={"Authorization": f"Bearer {token}x"})
        right = await client.get("/banking/accounts", headers={"Authorization": f"Bearer {token}"})
        statuses = [(await client.get(path)).status_code for path in ("/health", "/ready", "/docs", "/metrics")]

    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.headers["request-id"]
    assert wrong.status_code == 401
    assert right.status_code == 200
    assert statuses == [200, 200, 200, 401]
