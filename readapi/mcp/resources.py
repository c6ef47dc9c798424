"""What an agent can keep at hand: an address, its answer as JSON, and how long that is worth keeping.

The time to live is that of the answer: until the bank should have confirmed it again. A client that keeps to it shows
no figure for longer than Bankmirror would.
"""

from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote

from readapi.mcp.api import Api
from readapi.mcp.shapes import Result
from readapi.mcp.tools.arguments import ROWS_MAX
from readapi.mcp.tools.cash import get_account_overview, list_accounts
from readapi.mcp.tools.mirror import get_sync_health
from readapi.mcp.tools.position import get_cash_position

_ONE = "bank://accounts/"
# (address, name, title, what it is)
FIXED = (
    ("bank://accounts", "accounts", "Accounts", f"The accounts with their balances, the first {ROWS_MAX}."),
    ("bank://cash-position", "cash-position", "Cash position", "The money of all accounts, by currency."),
    ("bank://sync", "sync", "Sync health", "How fresh the mirror is, and what is wrong with it."),
)
TEMPLATE = (f"{_ONE}{{account_id}}", "account", "Account", "One account: its balance, and what moved last.")


class Found(NamedTuple):
    """A resource: its JSON, and for how long a client may keep it, in milliseconds."""

    text: str
    ttl_ms: int


async def read(api: Api, uri: str) -> Found | None:
    """The resource at an address; None where there is none. Raises Refused."""
    match uri:
        case "bank://accounts":
            result: Result = await list_accounts(api, limit=ROWS_MAX)
        case "bank://cash-position":
            result = await get_cash_position(api)
        case "bank://sync":
            result = await get_sync_health(api)
        case _ if uri.startswith(_ONE) and uri != _ONE:
            result = await get_account_overview(api, account_id=unquote(uri.removeprefix(_ONE)))
        case _:
            return None
    return Found(result.model_dump_json(by_alias=True, exclude_none=True), _milliseconds(result))


def _milliseconds(result: Result) -> int:
    """Until the answer counts as stale; what is not fresh now is not to be kept at all."""
    freshness = result.freshness
    if freshness.verdict != "fresh" or freshness.fresh_until is None:
        return 0
    left = freshness.fresh_until - datetime.now(UTC)
    return max(0, int(left.total_seconds() * 1000))
