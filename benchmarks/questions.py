"""Ten questions that an agent is asked about money, and how much it has to read to answer them.

Once by our tools, and once by what a bank's interface usually has: lists of accounts, balances and transactions, newest
first, a hundred rows a page, read until the period is covered. Both ways must come to the same answer; what is counted
is the bytes of the answers that were read. A token is taken for four bytes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

import httpx

PAGE = 100
TOKEN_BYTES = 4
_VERSION = "2026-07-28"
_META = "io.modelcontextprotocol/"
Row = dict[str, Any]


class Read(NamedTuple):
    """What was read to answer a question, in bytes; both ways gave this answer."""

    question: str
    tool_bytes: int
    list_bytes: int
    answer: Any

    @property
    def times(self) -> float:
        """How many times more the lists were."""
        return self.list_bytes / self.tool_bytes


class Question(NamedTuple):
    """A question, and both ways to its answer."""

    text: str
    by_tool: Callable[["Tools"], Any]
    by_lists: Callable[["Lists"], Any]


class Tools:
    """Calls tools over MCP, and counts the text that a model would read."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.read_bytes = 0

    def call(self, tool: str, **arguments: Any) -> Row:
        """The answer of a tool."""
        meta = {f"{_META}protocolVersion": _VERSION, f"{_META}clientCapabilities": {}}
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        headers = {"Mcp-Protocol-Version": _VERSION, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = self._client.post("/mcp", json=message, headers=headers).raise_for_status().json()["result"]
        [block] = result["content"]
        if result["isError"]:
            raise AssertionError(f"{tool}: {block['text']}")
        self.read_bytes += len(block["text"].encode())
        answer: Row = result["structuredContent"]
        return answer


class Lists:
    """Reads lists page by page, and counts what came."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.read_bytes = 0

    def get(self, path: str, **query: Any) -> Row:
        """One answer."""
        response = self._client.get(path, params=query).raise_for_status()
        self.read_bytes += len(response.content)
        answer: Row = response.json()
        return answer

    def rows(self, path: str) -> Iterator[Row]:
        """The rows of a list, a page after the other, for as long as somebody takes them."""
        query: Row = {"limit": PAGE}
        while True:
            page = self.get(path, **query)
            yield from page["data"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def transactions(self, account_id: str, first: date, last: date | None = None) -> list[Row]:
        """An account's transactions of some days. The list is by when they were made: a week more is looked through."""
        found = []
        for row in self.rows(f"/banking/accounts/{account_id}/transactions"):
            if made_on(row) < first - timedelta(days=7):
                break
            if first <= day_of(row) <= (last or date.max):
                found.append(row)
        return found


def measure(base_url: str, account_id: str, token: str | None = None) -> list[Read]:
    """Answer all questions both ways. Raises AssertionError where the answers differ."""
    headers = {"Accept": "application/json, text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    found = []
    with httpx.Client(base_url=base_url, headers=headers, timeout=60, trust_env=False) as client:
        for question in questions(account_id, datetime.now(UTC).date()):
            tools, lists = Tools(client), Lists(client)
            told, counted = question.by_tool(tools), question.by_lists(lists)
            if told != counted:
                raise AssertionError(f"{question.text} {told} by tools, {counted} by lists")
            found.append(Read(question.text, tools.read_bytes, lists.read_bytes, told))
    return found


def describe(base_url: str, token: str | None = None) -> int:
    """The bytes of `tools/list` as it is sent, which an agent loads once in a conversation."""
    headers = {"Accept": "application/json, text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = httpx.post(f"{base_url}/mcp", json=message, headers=headers, timeout=60, trust_env=False)
    return len(answer.raise_for_status().content)


def questions(account_id: str, today: date) -> Sequence[Question]:
    """The ten, about one account but for the second."""
    month_end = today.replace(day=1) - timedelta(days=1)
    month = month_end.replace(day=1)
    quarter = today.replace(month=today.month - (today.month - 1) % 3, day=1)
    yesterday = today - timedelta(days=1)
    one, of_month = {"account_id": account_id}, {"from_day": str(month), "to_day": str(month_end)}
    account = f"/banking/accounts/{account_id}"

    def can_pay(lists: Lists) -> str:
        balance = lists.get(account)["data"]["balance"]
        # What the bank dates after its balance cannot be in it.
        rows = lists.rows(f"{account}/transactions")
        newer = list(takewhile(lambda row: row["created_at"] > balance["as_of"], rows))
        if balance["available_minor"] is None:
            return "unknown"
        spendable = balance["available_minor"] + sum(row["amount_minor"] for row in newer if row["amount_minor"] < 0)
        return "yes" if spendable >= 12_000_00 else "no"

    def total(lists: Lists) -> int:
        return sum(row["current_minor"] for row in lists.rows("/banking/balances") if row["currency"] == "USD")

    def spent_at_the_largest(lists: Lists) -> tuple[str, int]:
        moved: dict[str, int] = defaultdict(int)
        spent: dict[str, int] = defaultdict(int)
        for row in lists.transactions(account_id, month, month_end):
            if (name := row["untrusted"]["counterparty_name"]) is not None:
                moved[name] += abs(row["amount_minor"])
                spent[name] += min(row["amount_minor"], 0)
        name = max(moved, key=lambda name: moved[name])
        return name, spent[name]

    def largest_by_tool(tools: Tools) -> tuple[str, int]:
        [currency] = tools.call("summarize_activity", **one, **of_month, top=1)["currencies"]
        [largest] = currency["by_counterparty"]
        return largest["untrusted"]["counterparty_name"], largest["out_minor"]

    def arrived(lists: Lists) -> str | None:
        incoming = (row for row in lists.transactions(account_id, month) if row["amount_minor"] > 0)
        return next((row["transaction_id"] for row in incoming if "INV 20417" in row["untrusted"]["description"]), None)

    def arrived_by_tool(tools: Tools) -> str | None:
        asked = {**one, "text": "INV 20417", "direction": "in", "from_day": str(month), "limit": 1}
        return next((row["transaction_id"] for row in tools.call("search_transactions", **asked)["transactions"]), None)

    def changed(lists: Lists) -> list[str]:
        rows = lists.transactions(account_id, yesterday - timedelta(days=30))
        since = f"{yesterday}T00:00:00"
        return sorted(row["transaction_id"] for row in rows if row["created_at"] > since)

    def changed_by_tool(tools: Tools) -> list[str]:
        answer = tools.call("list_changes", **one, since=f"{yesterday}T00:00:00Z", limit=50)
        return sorted(row["transaction_id"] for row in answer["added"] + answer["modified"])

    def why(lists: Lists) -> tuple[int, int]:
        balance = lists.get(account)["data"]["balance"]
        booked = [row for row in lists.transactions(account_id, month) if row["status"] == "posted"]
        return balance["current_minor"], sum(row["amount_minor"] for row in booked)

    def why_by_tool(tools: Tools) -> tuple[int, int]:
        answer = tools.call("explain_balance", **one, from_day=str(month), limit=5)
        return answer["balance"]["current_minor"], answer["entries_minor"]

    def flow(lists: Lists) -> tuple[int, int]:
        rows = lists.transactions(account_id, month, month_end)
        amounts = [row["amount_minor"] for row in rows if row["status"] == "posted"]
        return sum(amount for amount in amounts if amount > 0), sum(amount for amount in amounts if amount < 0)

    def flow_by_tool(tools: Tools) -> tuple[int, int]:
        [period] = tools.call("get_cash_flow", **one, **of_month)["periods"]
        return period["in_minor"], period["out_minor"]

    def newest(lists: Lists) -> list[str]:
        return [row["transaction_id"] for row, _ in zip(lists.rows(f"{account}/transactions"), range(5), strict=False)]

    def newest_by_tool(tools: Tools) -> list[str]:
        return [row["transaction_id"] for row in tools.call("search_transactions", **one, limit=5)["transactions"]]

    def fresh(lists: Lists) -> bool:
        synced_at = datetime.fromisoformat(lists.get(account)["data"]["balance"]["synced_at"])
        return datetime.now(UTC) - synced_at < timedelta(days=1)

    def largest_payment(lists: Lists) -> str:
        rows = lists.transactions(account_id, quarter)
        least = min(rows, key=lambda row: (row["amount_minor"], row["transaction_id"]))
        return str(least["transaction_id"])

    def largest_payment_by_tool(tools: Tools) -> str:
        asked = {**one, "sort": "amount_minor", "direction": "out", "from_day": str(quarter), "limit": 1}
        [row] = tools.call("search_transactions", **asked)["transactions"]
        return str(row["transaction_id"])

    payment = {**one, "amount": "12000.00", "currency": "USD"}
    return [
        Question("Can I pay 12,000 USD today?", lambda tools: tools.call("can_pay", **payment)["answer"], can_pay),
        Question(
            "How much USD is there in all accounts?",
            lambda tools: tools.call("get_cash_position", currency="USD")["currencies"][0]["booked_minor"],
            total,
        ),
        Question(
            "Who was our largest counterparty last month, and what did we spend there?",
            largest_by_tool,
            spent_at_the_largest,
        ),
        Question("Did the payment of invoice 20417 arrive?", arrived_by_tool, arrived),
        Question("What changed since yesterday morning?", changed_by_tool, changed),
        Question("Why is the balance what it is?", why_by_tool, why),
        Question("What came in and went out last month?", flow_by_tool, flow),
        Question("What are the five newest entries?", newest_by_tool, newest),
        Question(
            "Is the data fresh?",
            lambda tools: tools.call("get_sync_health", **one)["freshness"]["verdict"] == "fresh",
            fresh,
        ),
        Question("What was the largest payment this quarter?", largest_payment_by_tool, largest_payment),
    ]


def day_of(row: Row) -> date:
    """The day on which an entry counts: its booking date; while pending, the day on which it was made."""
    return date.fromisoformat(row["booked_on"] or row["created_at"][:10])


def made_on(row: Row) -> date:
    """The day on which an entry was made, which is what lists are sorted by."""
    return date.fromisoformat(row["created_at"][:10])
