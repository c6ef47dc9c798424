"""The reads of the contract, webhooks, and the admin routes. Pages arrive from the database as JSON text."""

import re
from datetime import date
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from psycopg.rows import DictRow
from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, StrictStr

from sandbox import cursors, problems, store, webhooks
from sandbox.bank import Bank, bank_of
from sandbox.cursors import FeedCursor
from sandbox.payments import read_body

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=500)]
Id = Annotated[str | None, Query(min_length=1, max_length=140)]
# YYYY-MM-DD and nothing else: pydantic alone would also read a number as seconds since 1970.
Day = Annotated[date, BeforeValidator(lambda text: text if _ISO_DAY.fullmatch(text) else "not a day")]
_ISO_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WEBHOOKS_MAX: Final = 100


class WebhookOrder(BaseModel):
    """Where to send."""

    model_config = ConfigDict(extra="forbid")
    url: StrictStr


class AdminSettings(BaseModel):
    """What can be changed while the bank runs."""

    model_config = ConfigDict(extra="forbid")
    strict_pagination: StrictBool


@router.get("/health")
async def health(request: Request) -> Response:
    """The bank answers, and so does its database."""
    async with bank_of(request).pool.connection() as conn:
        ledger = await store.get_ledger(conn)
    return _json(f'{{"status":"ok","bank_time":"{ledger.bank_time.isoformat()}","head":{ledger.head}}}')


@router.get("/accounts")
async def list_accounts(request: Request, cursor: str | None = None, limit: Limit = 100) -> Response:
    """Accounts in id order."""
    return await _accounts(bank_of(request), "accounts", cursor, limit)


@router.get("/balances")
async def list_balances(request: Request, cursor: str | None = None, limit: Limit = 100) -> Response:
    """Balances in id order."""
    return await _accounts(bank_of(request), "balances", cursor, limit)


async def _accounts(bank: Bank, kind: Literal["accounts", "balances"], cursor: str | None, limit: int) -> Response:
    after = cursors.decode(kind, cursor, 1)[0] if cursor is not None else ""
    page = await store.page_accounts(bank.pool, balances=kind == "balances", after=after, limit=limit)
    return _page(page["data"], cursors.encode(kind, page["last_id"]) if page["has_more"] else None)


@router.get("/accounts/{account_id}")
async def get_account(request: Request, account_id: str) -> Response:
    """One account."""
    return _found((await _told(request, account_id))["account"])


@router.get("/accounts/{account_id}/balance")
async def get_balance(request: Request, account_id: str) -> Response:
    """The balance of one account."""
    return _found((await _told(request, account_id))["balance"])


async def _told(request: Request, account_id: str) -> DictRow:
    row = await store.get_account(bank_of(request).pool, account_id)
    if row is None:
        raise problems.NotFound
    if row["gone"]:
        raise problems.AccountGone
    return row


@router.get("/transactions")
async def list_transactions(
    request: Request,
    account_id: Id = None,
    from_day: Annotated[Day | None, Query(alias="from")] = None,
    to_day: Annotated[Day | None, Query(alias="to")] = None,
    status: Literal["pending", "posted"] | None = None,
    client_reference: Id = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> Response:
    """Transactions by (day, transaction_id); the day is `booked_on`, or of `created_at` while pending."""
    after_day, after_id = cursors.decode_day(cursor) if cursor is not None else (None, None)
    page = await store.page_transactions(
        bank_of(request).pool, account_id=account_id, from_day=from_day, to_day=to_day, status=status,
        client_reference=client_reference, after_day=after_day, after_id=after_id, limit=limit,
    )  # fmt: skip
    if page["gone"]:
        raise problems.AccountGone
    return _page(page["data"], cursors.encode_day(page["last_day"], page["last_id"]) if page["has_more"] else None)


@router.get("/transactions/changes")
async def list_changes(request: Request, cursor: str | None = None, limit: Limit = 100) -> Response:
    """The change feed: what happened to the books after a cursor, in log order.

    - Without a cursor, from the beginning: every row there is, as `added`.
    - `added` was created after the cursor, `modified` was created at or before it and changed after it,
      `removed` are tombstones. A row that changed twice appears once, at its latest position.
    - While `has_more`, the pages are one loop, relative to the cursor that it began with; within it a later
      page wins over an earlier one. The last `next_cursor` is where the next loop begins.
    - Tombstones of rows that the client cannot have seen are not sent.
    - 410 after a feed reset: begin again without a cursor. 409 under strict pagination when the log moved
      since the loop's first page: begin again from the cursor of that first page.
    """
    at = FeedCursor.decode(cursor) if cursor is not None else FeedCursor(0, 0, 0, None)
    page = await store.page_changes(
        bank_of(request).pool, after=at.after, began=at.began, loop_head=at.loop_head, limit=limit
    )
    if cursor is not None and at.epoch != page.epoch:
        raise problems.CursorExpired
    if at.after > page.head:
        raise problems.CursorInvalid
    if page.strict_pagination and at.loop_head is not None and at.loop_head != page.head:
        raise problems.MutationDuringPagination
    if page.has_more and page.last_position is not None:
        loop_head = page.head if at.loop_head is None else at.loop_head
        following = FeedCursor(page.epoch, page.last_position, at.began, loop_head)
    else:
        following = FeedCursor(page.epoch, page.head, page.head, None)
    return _json(
        f'{{"added":[{page.added}],"modified":[{page.modified}],"removed":[{page.removed}],'
        f'"next_cursor":"{following.encode()}","has_more":{"true" if page.has_more else "false"}}}'
    )


@router.get("/transactions/{transaction_id}")
async def get_transaction(request: Request, transaction_id: str) -> Response:
    """One transaction."""
    return _found(await store.get_transaction(bank_of(request).pool, transaction_id))


@router.get("/webhooks")
async def list_webhooks(request: Request) -> Response:
    """Registered URLs, with how many deliveries succeeded and were given up."""
    async with bank_of(request).pool.connection() as conn:
        row = await store.fetch_row(conn, "webhooks_list")
    return _page(row["data"], None)


@router.post("/webhooks")
async def register_webhook(request: Request) -> Response:
    """Register a URL on this machine; again is the same registration."""
    order = await read_body(request, WebhookOrder)
    url = webhooks.check_url(order.url)
    async with bank_of(request).pool.connection() as conn:
        registered = await store.get_webhook_urls(conn)
        if url not in registered and len(registered) >= _WEBHOOKS_MAX:
            raise problems.ValidationFailed(f"At most {_WEBHOOKS_MAX} webhooks.")
        row = await store.fetch_row(conn, "webhook_add", url=url)
    return _json(row["wire"], 201)


@router.delete("/webhooks/{webhook_id}")
async def remove_webhook(request: Request, webhook_id: str) -> Response:
    """Forget a URL."""
    async with bank_of(request).pool.connection() as conn:
        if await store.fetch_one(conn, "webhook_remove", webhook_id=webhook_id) is None:
            raise problems.NotFound
    return Response(status_code=204)


@router.post("/_admin/reset-feed")
async def reset_feed(request: Request) -> Response:
    """Expire every feed cursor given out so far: 410 from now on."""
    async with bank_of(request).pool.connection() as conn:
        row = await store.fetch_row(conn, "ledger_reset_feed")
    return _json(f'{{"epoch":{row["epoch"]}}}')


@router.post("/_admin/settings")
async def change_settings(request: Request) -> Response:
    """Switch strict pagination on or off."""
    wanted = await read_body(request, AdminSettings)
    async with bank_of(request).pool.connection() as conn:
        await store.fetch_row(conn, "ledger_set_strict", strict_pagination=wanted.strict_pagination)
    return _json(wanted.model_dump_json())


def _page(data: str, next_cursor: str | None) -> Response:
    following = "null" if next_cursor is None else f'"{next_cursor}"'
    return _json(f'{{"data":[{data}],"next_cursor":{following}}}')


def _found(wire: str | None) -> Response:
    if wire is None:
        raise problems.NotFound
    return _json(wire)


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")
