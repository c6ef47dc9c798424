"""Two accounts with everything that there is of an account, every question that the API takes, and what must not be in
the answers: whatever is told of one account must be the same as if there were no other.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message

from kernel.access import is_open
from tests.integration.readapi.mirror import NOON, Mirror
from tests.waiting import PATIENCE

# The account in scope, the one out of scope, and one that nobody has; their names are equally long, and each stands in
# every id, name and memo of its account.
MINE, THEIRS, ABSENT = "acct_mine_4f", "acct_else_9k", "acct_none_0z"
MEMO = "memo of"
# Digits of every amount of an account; nothing else has them.
_DIGITS = {MINE: 31_337, THEIRS: 70_707}
TODAY = datetime.now(UTC).date()
_DAY = NOON.date()


def account(mirror: Mirror, account_id: str) -> None:
    """All that can be known of an account."""
    unit = _DIGITS[account_id]
    text = f"{MEMO} {account_id}"
    # The name and the type are the bank's words; they are told to whoever may see the account.
    mirror.account(account_id, name=f"name of {account_id}")
    mirror.balance(account_id, unit * 100_000, available_minor=unit * 100_000)
    mirror.past_balance(account_id, unit * 10_000, as_of=NOON - timedelta(days=3), known_from=NOON - timedelta(days=3))
    for number, (status, day) in enumerate([("posted", _DAY), ("posted", TODAY), ("pending", None)]):
        mirror.transaction(
            account_id, -unit * 10 ** (number + 1), transaction_id=f"tx{number}_{account_id}", status=status,
            booked_on=day, description=f"{text} {number}", counterparty_name=f"{MEMO} friend of {account_id}",
            counterparty_account_id=f"friend_{account_id}", client_reference=f"reference of {account_id}",
        )  # fmt: skip
    mirror.revision(
        account_id, f"tx0_{account_id}", amount_minor=-unit * 1_000, description=text, counterparty_name=text,
        known_from=NOON, known_to=NOON + timedelta(hours=1),
    )  # fmt: skip
    mirror.revision(
        account_id, f"gone_{account_id}", amount_minor=-unit, description=text, ended_by="removed", status="posted",
        booked_on=_DAY,
    )  # fmt: skip
    for state in ("ready", "unknown", "accepted", "rejected"):
        mirror.transfer(
            account_id, unit, state, destination_account_id=f"friend_{account_id}", reference=text, memo=text
        )
    for day in (_DAY, TODAY):
        mirror.total(account_id, day.isoformat(), unit * 10, -unit * 100)
    mirror.run(
        "INSERT INTO sync.late_entries (account_id, transaction_id, booked_on, lag_days) VALUES (%s, %s, %s, 3)",
        account_id, f"tx0_{account_id}", _DAY,
    )  # fmt: skip
    mirror.run(
        "INSERT INTO snapshot.transaction_links"
        " (account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)"
        " VALUES (%s, %s, %s, 'settled', 'provider-link', 1, 'linked', 1)",
        account_id, f"gone_{account_id}", f"tx0_{account_id}",
    )  # fmt: skip
    mirror.run(
        "INSERT INTO sync.account_links (account_id, listed_id, connection_id, name, type, currency, run_id)"
        " VALUES (%s, %s, 'default', %s, 'checking', 'USD', 1)",
        account_id, f"listed_{account_id}", text,
    )  # fmt: skip
    mirror.run(
        "INSERT INTO sync.quarantine (connection_id, account_id, feed, transaction_id, reason, raw, raw_sha256, run_id)"
        " VALUES ('default', %s, 'transactions', %s, %s, %s, sha256(%s), 1)",
        account_id, f"bad_{account_id}", f"reason of {account_id}", text.encode(), text.encode(),
    )  # fmt: skip
    mirror.run(
        "INSERT INTO sync.confirmations"
        " (connection_id, account_id, feed, known_from, fresh_until, complete, refused_accounts)"
        " SELECT 'default', '', feed, now() - %s * interval '1 hour', now(), true, ARRAY[%s]"
        "   FROM unnest(ARRAY['accounts', 'balances', 'transactions']) AS feed",
        unit % 7 + 1, account_id,
    )  # fmt: skip


def world(mirror: Mirror) -> datetime:
    """Both accounts, fresh feeds, a refreshed view, and history up to now; a moment at which all of it was known."""
    # What comes by time does not come while a test asks the same thing twice.
    later = datetime.now(UTC) + timedelta(hours=1)
    for account_id in (MINE, THEIRS):
        account(mirror, account_id)
    for feed in ("accounts", "balances", "transactions"):
        mirror.feed(feed, fresh_until=later)
    mirror.refresh()
    ((moment,),) = mirror.run("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    mirror.run("UPDATE sync.clock SET mark = clock_timestamp()")
    return moment


def remove(mirror: Mirror, account_id: str) -> None:
    """As if there had never been this account."""
    mirror.run("SET session_replication_role = replica")
    for schema, table, column in mirror.run(
        """
        SELECT table_schema, table_name, column_name FROM information_schema.columns
          JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_type = 'BASE TABLE' AND table_schema IN ('snapshot', 'sync', 'transfer')
           AND column_name IN ('account_id', 'source_account_id')
        """
    ):
        mirror.run(f"DELETE FROM {schema}.{table} WHERE {column} = %s", account_id)
    mirror.run("UPDATE sync.confirmations SET refused_accounts = array_remove(refused_accounts, %s)", account_id)
    mirror.run("SET session_replication_role = origin")
    mirror.run_that_changed()
    mirror.refresh()


class Answer(NamedTuple):
    """An answer as it was sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def text(self) -> str:
        """All that was sent, and what is in cursors."""
        lines = [f"{name.decode()}: {value.decode('latin-1')}" for name, value in self.headers]
        return "\n".join([*lines, self.body.decode("utf-8", "replace")])

    @property
    def masked(self) -> str:
        """The same without what differs from one second, or one request, to the next."""
        text = re.sub(r"(?im)^(request-id|etag|age|date|ratelimit|cache-control|last-modified): .*$", r"\1", self.text)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|[+-]\d\d:?\d\d)", "<moment>", text)
        text = re.sub(r'("age_seconds": ?)[0-9.]+|("refreshed_by_run_id": ?)\d+', r"\1\2", text)
        return re.sub(r"[A-Za-z0-9_-]{40,}|urn:uuid:[0-9a-f-]+", "<opaque>", text)


async def ask(
    app: ASGIApp, target: str, headers: Mapping[str, str], *, method: str = "GET", body: bytes = b"", until: bytes = b""
) -> Answer:
    """The answer to a request; of one without an end as much as comes up to `until`."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": quote(path).encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in {"Host": "[::1]", **headers}.items()],
        "client": ("192.0.2.1", 1), "server": ("mirror", 80), "state": {},
    }  # fmt: skip
    start: Message = {}
    received, over = bytearray(), asyncio.Event()
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        if (message := next(sent, None)) is None:
            await over.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Message) -> None:
        start.update(message if message["type"] == "http.response.start" else {})
        received.extend(message.get("body", b""))
        if (message["type"] == "http.response.body" and not message.get("more_body")) or (until and until in received):
            over.set()

    async with asyncio.timeout(PATIENCE):
        asking = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.wait([asking, asyncio.ensure_future(over.wait())], return_when=asyncio.FIRST_COMPLETED)
        over.set()
        await asking
    return Answer(start["status"], [(bytes(name), bytes(value)) for name, value in start["headers"]], bytes(received))


class Question(NamedTuple):
    """A request, and in what it is asked for."""

    target: str
    accept: str

    def of(self, account_id: str) -> "Question":
        """The same of another account."""
        return self._replace(target=self.target.replace(MINE, account_id))


def questions(openapi: Mapping[str, Any], moment: datetime) -> Iterator[Question]:
    """Every GET of the API, of the account in scope where one is named: plain in each form, and with each parameter.

    Raises KeyError for a parameter that nobody has said a value of: then an endpoint is new, and is to be asked here.
    """
    for template, operations in openapi["paths"].items():
        if is_open(re.sub(r"\{\w+\}", "x", template)):
            continue
        get = operations["get"]
        parameters = {found["name"]: found for found in get.get("parameters", [])}
        path = template
        for name in re.findall(r"\{(\w+)\}", template):
            (value,) = values(name, parameters[name], moment)[:1]
            path = path.replace(f"{{{name}}}", value)
        needed = {
            name: values(name, found, moment)[0]
            for name, found in parameters.items()
            if found["in"] == "query" and (found.get("required") or name == "amount")
        }
        asked = [needed]
        for name, found in parameters.items():
            if found["in"] == "query":
                asked += [{**needed, name: value} for value in values(name, found, moment)]
        first, *forms = get["responses"]["200"]["content"]
        for form, query in [*((first, query) for query in asked), *((form, needed) for form in forms)]:
            # Packed, and of the same rows as the other files, which can be looked into.
            if form != "application/vnd.apache.parquet":
                yield Question(f"{path}?{urlencode(query)}" if query else path, form)


def values(name: str, parameter: Mapping[str, Any], moment: datetime) -> list[str]:
    """What a parameter is given. Of text that is looked for, what would find the other account."""
    given: dict[str, list[str]] = {
        "account_id": [MINE],
        "amount": ["1.00"],
        # One of the two is needed, and not both are taken.
        "amount_minor": [],
        "as_of": [(moment + timedelta(0)).isoformat()],
        "counterparty": ["friend", THEIRS],
        "counterparty_account_id": [f"friend_{MINE}", f"friend_{THEIRS}"],
        "currency": ["USD"],
        "cursor": [],
        "fields": [],
        "from": ["2020-01-01"],
        "known_at": [moment.isoformat()],
        "known_from": ["2020-01-01T00:00:00+00:00"],
        "known_to": [moment.isoformat()],
        "limit": ["1"],
        "max_age": ["86400"],
        "max_amount_minor": ["999999999999"],
        "min_amount_minor": ["1"],
        "text": ["memo", THEIRS],
        "to": [TODAY.isoformat()],
        "top": ["1"],
        "transaction_id": [f"tx0_{MINE}"],
        "type": ["card"],
    }
    schemas = [parameter["schema"], *parameter["schema"].get("anyOf", [])]
    if name == "from" and all(schema.get("format") != "date" for schema in schemas):
        name = "known_from"
    if name in given:
        return given[name]
    listed = [value for schema in schemas for value in schema.get("enum", [])]
    if listed:
        return [str(value) for value in listed]
    if any(schema.get("type") == "boolean" for schema in schemas):
        return ["true"]
    raise KeyError(f"say what to give for the parameter {name}")


async def everything(
    app: ASGIApp, asked: list[Question], headers: Mapping[str, str], *, follow: bool = True
) -> AsyncIterator[tuple[Question, Answer]]:
    """Ask all of it, and where an answer has a next page, for that too."""
    for question in asked:
        until = b"event: freshness" if question.accept == "text/event-stream" else b""
        answer = await ask(app, question.target, {**headers, "Accept": question.accept}, until=until)
        yield question, answer
        cursor = re.search(rb'"next_cursor":"([^"]+)"', answer.body)
        if follow and cursor is not None and "cursor=" not in question.target:
            joint = "&" if "?" in question.target else "?"
            further = question._replace(target=f"{question.target}{joint}cursor={cursor[1].decode()}")
            yield further, await ask(app, further.target, {**headers, "Accept": further.accept}, until=until)


def tell_tales(answer: Answer, account_id: str) -> list[str]:
    """What in an answer is of an account: its name, in plain or in a cursor, or digits of its amounts."""
    found = [account_id.removeprefix("acct_")] if account_id.removeprefix("acct_") in _opened(answer.text) else []
    return found + re.findall(rf"\b-?{_DIGITS[account_id]}0*\b", answer.text)


def _opened(text: str) -> str:
    """The text, with what is written in base 64 in it as well."""
    import base64

    opened = [text]
    for word in re.findall(r"[A-Za-z0-9_-]{20,}", text):
        for form in (base64.urlsafe_b64decode, base64.b64decode):
            try:
                opened.append(form(word + "=" * (-len(word) % 4)).decode("latin-1"))
            except ValueError:
                continue
    return "\n".join(opened)


def calls(tools: list[Mapping[str, Any]], moment: datetime) -> Iterator[dict[str, Any]]:
    """A call of each MCP tool, and one with each argument."""
    for tool in tools:
        schema = tool["inputSchema"]
        properties = schema.get("properties", {})
        needed = {name: _argument(name, properties[name], moment) for name in schema.get("required", [])}
        yield {"name": tool["name"], "arguments": needed}
        for name, found in properties.items():
            if name not in needed and (value := _argument(name, found, moment)) is not None:
                yield {"name": tool["name"], "arguments": {**needed, name: value}}


def _argument(name: str, schema: Mapping[str, Any], moment: datetime) -> Any:
    kinds = {kind for one in (schema, *schema.get("anyOf", [])) for kind in [one.get("type")]}
    name = {"since": "known_from", "from_day": "from", "to_day": "to"}.get(name, name)
    found = values(name, {"schema": schema}, moment)
    if not found:
        return None
    return int(found[0]) if "integer" in kinds and "string" not in kinds else found[0]


def rpc(method: str, **params: Any) -> bytes:
    """A message of the Model Context Protocol."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
