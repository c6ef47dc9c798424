"""A bank that costs next to nothing, so that what reads it is measured and not the bank.

Every page is one rendered page of 500 rows in which the page's number and day are replaced: a few microseconds a
page, no memory however long the history, and the same rows for whoever asks. It speaks the generic contract as far
as the benchmark reads it, on a free port of 127.0.0.1, which it prints.

    python -m benchmarks.bank --rows 200000

`POST /bench/changes` has the feed show 50 new and 50 changed rows, spread over the whole history.
"""

import argparse
import json
import random
import socket
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs

import uvicorn

PAGE_ROWS = 500
ACCOUNTS = 50
# Two years of 50 accounts at every size: a larger bank has more rows a day, not a longer past.
DAYS = 730
FIRST_DAY = date(2024, 1, 1)
CHANGES = 100

# What stands in the rendered page where a page writes its own.
_PAGE_MARK = b"@PAGE@@@"
_DAY_MARK = b"@DAY@@@@@@"

_SHOPS = (
    ("Blue Door Coffee", "SQ *BLUE DOOR COFFEE", "card"),
    ("Northgate Market", "NORTHGATE MARKET #118", "card"),
    ("Café Zürich", "CAFÉ ZÜRICH HB", "card"),
    ("Harbor Hotel", "HARBOR HOTEL FRONT DESK", "card"),
    ("Granite Peak Builders", "ACH GRANITE PEAK BUILDERS INV 20417", "ach"),
    ("Evergreen Logistics", "WIRE EVERGREEN LOGISTICS REF 88120", "wire"),
    (None, "INTEREST PAYMENT", "interest"),
)


class Books:
    """The bank's rows, by page, and what happened since."""

    def __init__(self, rows: int) -> None:
        self.pages = max(1, rows // PAGE_ROWS)
        self._page = _rendered_page()
        self._changes: list[bytes] = []

    def page(self, cursor: str | None) -> bytes:
        """A page of the change feed: `p<n>` is in the middle of the history, `c<n>` after n rounds of changes."""
        kind, number = ("p", 0) if cursor is None else (cursor[0], int(cursor[1:]))
        if kind == "c":
            shown = self._changes[number] if number < len(self._changes) else b'{"added":[],"modified":[]'
            last = min(number + 1, len(self._changes))
            return shown + f',"removed":[],"next_cursor":"c{last}","has_more":false}}'.encode()
        more = number + 1 < self.pages
        following = f"p{number + 1}" if more else f"c{len(self._changes)}"
        day = (FIRST_DAY + timedelta(days=number * DAYS // self.pages)).isoformat().encode()
        rows = self._page.replace(_PAGE_MARK, b"%08d" % number).replace(_DAY_MARK, day)
        tail = f'],"modified":[],"removed":[],"next_cursor":"{following}","has_more":{str(more).lower()}}}'
        return b'{"added":[' + rows + tail.encode()

    def change(self) -> None:
        """Half of the changes are new rows of the last day, half are other amounts of rows all over the past."""
        half, round_number = CHANGES // 2, len(self._changes) + 1
        last_day = (FIRST_DAY + timedelta(days=DAYS - 1)).isoformat()
        added, modified = [], []
        for number in range(half):
            page = number * self.pages // half
            day = (FIRST_DAY + timedelta(days=page * DAYS // self.pages)).isoformat()
            modified.append(_row(number, f"{page:08d}", day) | {"amount_cents": -round_number})
            added.append(_row(number, f"new{round_number:05d}", last_day))
        self._changes.append(json.dumps({"added": added, "modified": modified}).encode()[:-1])


def _rendered_page() -> bytes:
    rows = [_row(number, _PAGE_MARK.decode(), _DAY_MARK.decode()) for number in range(PAGE_ROWS)]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]


def _row(number: int, page: str, day: str) -> dict[str, Any]:
    """A row of the contract; as in life, few have a reference and many a counterparty."""
    dice = random.Random(number)  # noqa: S311  # The same rows in every run.
    name, description, kind = dice.choice(_SHOPS)
    clock = f"{number // 25:02d}:{dice.randrange(60):02d}:{dice.randrange(60):02d}.{dice.randrange(10**6):06d}"
    counterparty = None if name is None else {"name": name, "account_id": None}
    return {
        "transaction_id": f"txn_{page}_{number:04d}",
        "account_id": f"acct_{number % ACCOUNTS:04d}",
        "amount_cents": dice.randrange(-250_000, 120_000) or 1,
        "currency": "USD",
        "status": "posted",
        "type": kind,
        "description": description,
        "counterparty": counterparty,
        "created_at": f"{day}T{clock}Z",
        "booked_on": day,
        "pending_transaction_id": f"hold_{page}_{number:04d}" if number % 4 == 0 else None,
        "client_reference": f"ref_{page}_{number:04d}" if number % 10 == 0 else None,
    }


def accounts() -> bytes:
    """The listing of all accounts."""
    rows = [
        {"account_id": f"acct_{n:04d}", "name": f"Account {n}", "type": "checking", "currency": "USD", "status": "open"}
        for n in range(ACCOUNTS)
    ]
    return json.dumps({"data": rows, "next_cursor": None}).encode()


def balances() -> bytes:
    """The listing of all balances."""
    as_of = f"{FIRST_DAY + timedelta(days=DAYS)}T00:00:00Z"
    rows = [
        {"account_id": f"acct_{n:04d}", "currency": "USD", "current_cents": n, "available_cents": None, "as_of": as_of}
        for n in range(ACCOUNTS)
    ]
    return json.dumps({"data": rows, "next_cursor": None}).encode()


Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[dict[str, Any]], Awaitable[None]]], Any]


def make_app(books: Books) -> Asgi:
    """The bank as a bare ASGI application."""
    listed = {"/accounts": accounts(), "/balances": balances()}

    async def app(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        query = parse_qs(scope["query_string"].decode())
        if scope["method"] == "POST" and scope["path"] == "/bench/changes":
            books.change()
            body = b"{}"
        elif scope["path"] == "/transactions/changes":
            body = books.page(query.get("cursor", [None])[0])
        else:
            body = listed[scope["path"]]
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    """Listen on a free port, print it, and serve until the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    rows = parser.parse_args().rows
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(make_app(Books(rows)), log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
