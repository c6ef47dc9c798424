"""One who keeps a copy of the mirror by its changes, and is strict about what it is told."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

Key = tuple[str, str]


@dataclass
class Copy:
    """The rows by account and id, and the cursor that they are of."""

    cursor: str | None = None
    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    balances: dict[Key, dict[str, Any]] = field(default_factory=dict)
    at_end: bool = False

    async def turn(self, client: httpx.AsyncClient, limit: int, **query: str) -> dict[str, Any]:
        """Ask for the next page and apply it."""
        asked = {"limit": str(limit), **query, **({} if self.cursor is None else {"cursor": self.cursor})}
        response = await client.get("/banking/changes", params=asked)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        assert sum(len(changes) for changes in page["data"].values()) <= limit
        self.apply(page)
        return page

    async def catch_up(self, client: httpx.AsyncClient, limit: int, **query: str) -> None:
        """Turn pages until there are no more."""
        while (await self.turn(client, limit, **query))["has_more"]:
            pass

    def apply(self, page: Mapping[str, Any]) -> None:
        """Do as the page says. What is added was not there; what is modified or removed was."""
        data = page["data"]
        for row in data["added"]:
            assert _key(row) not in self.rows, row
            self.rows[_key(row)] = row
        for row in data["modified"]:
            assert _key(row) in self.rows, row
            self.rows[_key(row)] = row
        for row in data["removed"]:
            del self.rows[_key(row)]
        for row in data["balances"]:
            self.balances[row["account_id"], row["currency"]] = row
        self.cursor = page["next_cursor"]
        self.at_end = not page["has_more"]

    @property
    def until(self) -> datetime:
        """The end of the last window, out of the cursor; at the end of it that is where the next one begins."""
        assert self.cursor is not None
        body = base64.urlsafe_b64decode(self.cursor + "=" * (-len(self.cursor) % 4))[17:]
        since, until, *_ = json.loads(body)
        return datetime.fromisoformat(until or since)


def _key(row: Mapping[str, Any]) -> Key:
    return row["account_id"], row["transaction_id"]
