"""Whether the mirror can be trusted."""

from pydantic import Field

from readapi.mcp.api import Api
from readapi.mcp.shapes import At, Freshness, Page, Shape, onward
from readapi.mcp.tool import tool
from readapi.mcp.tools.arguments import ROWS, AccountId, Cursor, Rows
from readapi.models import FeedName, VerdictName


class Feed(Shape):
    """One of an account's feeds."""

    account_id: str
    feed: FeedName
    verdict: VerdictName
    synced_at: At | None = None
    complete: bool
    entries_refused: int
    reason: str | None = None
    remedy: str | None = Field(None, description="For the operator.")


class SyncHealth(Page):
    """The mirror's health."""

    verdicts: dict[VerdictName, int] = Field(description="How many feeds have which.")
    feeds: list[Feed] = Field(description="Those that were asked for.")


_WORST_FIRST: tuple[VerdictName, ...] = ("unknown", "stale", "partial")


@tool("Is the data fresh?")
async def get_sync_health(
    api: Api,
    verdict: VerdictName | None = None,
    account_id: AccountId | None = None,
    limit: Rows = ROWS,
    cursor: Cursor | None = None,
) -> SyncHealth:
    """How fresh the mirror is: how many feeds are fresh, partial, stale or unknown, and which are not and why.

    Use it when an answer is not `fresh`, or when you are asked whether the data can be trusted. Without `verdict` and
    `account_id` it names the feeds with the worst verdict, if any is not fresh.
    """
    if verdict is None and account_id is None:
        counted = await api.get("banking", "sync", limit=1)
        verdict = next((worse for worse in _WORST_FIRST if counted.data["verdicts"][worse]), None)
        if verdict is None:
            return SyncHealth(verdicts=counted.data["verdicts"], feeds=[], freshness=Freshness.of(counted))
    answered = await api.get("banking", "sync", verdict=verdict, account_id=account_id, limit=limit, cursor=cursor)
    return SyncHealth(
        verdicts=answered.data["verdicts"],
        feeds=[Feed.model_validate(feed) for feed in answered.data["feeds"]],
        freshness=Freshness.of(answered),
        onward=onward(answered, **({"verdict": verdict} if verdict else {})),
    )
