"""The endpoints: what may be asked, and which question of the store answers it."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from kernel import errors
from kernel.database import Pool
from readapi import examples, models, moments, store
from readapi.answers import FRESHNESS_HEADERS, bare, enveloped, page_keys
from readapi.documentation import problem_responses
from readapi.filters import (
    ID_LENGTH,
    NO_NUL,
    AccountsQuery,
    ActivityQuery,
    BalancesOfAccountQuery,
    BalancesQuery,
    CashFlowQuery,
    DiffQuery,
    FeedsQuery,
    Nothing,
    TransactionsQuery,
)

router = APIRouter()

AccountId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_LENGTH,
        pattern=NO_NUL,
        description="The bank's own id; `connection:id` for all but the default connection.",
        examples=["acct_123"],
    ),
]
TransactionId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_LENGTH,
        pattern=NO_NUL,
        description="The bank's own id; also one that it shows no more.",
        examples=["tx_1"],
    ),
]

# Days that a cash flow covers when it is not said: a quarter.
CASH_FLOW_DAYS = 90

_OVERLOADED = (errors.DatabaseUnavailable, errors.QueryTimeout, errors.Overloaded)
_LIST = problem_responses(errors.ValidationFailed, errors.CursorInvalid, *_OVERLOADED)
_ONE = problem_responses(errors.ValidationFailed, errors.NotFound, *_OVERLOADED)
_LIST_OF_ONE = problem_responses(errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, *_OVERLOADED)
_LIST_AT = problem_responses(errors.ValidationFailed, errors.CursorInvalid, errors.MomentOpen, *_OVERLOADED)
_LIST_OF_ONE_AT = problem_responses(
    errors.ValidationFailed, errors.NotFound, errors.CursorInvalid, errors.MomentOpen, *_OVERLOADED
)
_AGE: dict[str, Any] = {
    "Cache-Control": {
        "schema": {"type": "string"},
        "description": "private, max-age=<seconds until fresh_until>; a year and immutable with known_at",
    },
    "Age": {"schema": {"type": "integer"}, "description": "Seconds since synced_at; not with known_at."},
}
_ACTIVITY_HEADERS = {**_AGE, **{name: {"schema": {"type": "string"}} for name in FRESHNESS_HEADERS}}


def _days_before(day: date, days: int) -> date:
    return date.fromordinal(max(1, day.toordinal() - days))


def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.pool
    return pool


@router.get(
    "/banking/accounts",
    tags=["accounts"],
    operation_id="list_accounts",
    summary="Accounts with their balances",
    response_model=models.Accounts,
    responses={200: {"headers": _AGE}, **_LIST},
)
async def list_accounts(request: Request, query: Annotated[AccountsQuery, Query()]) -> Response:
    """All accounts by id, each with the balance in its own currency, or null where the bank states none."""
    after = page_keys(request, query.cursor, 1)
    return enveloped(
        request,
        await store.list_accounts(
            _pool(request), status=query.status, currency=query.currency, after=after, limit=query.limit
        ),
    )


@router.get(
    "/banking/accounts/{account_id}",
    tags=["accounts"],
    operation_id="get_account",
    summary="One account",
    response_model=models.OneAccount,
    responses={200: {"headers": _AGE}, **_ONE},
)
async def get_account(request: Request, account_id: AccountId, _: Annotated[Nothing, Query()]) -> Response:
    """One account with the balance in its own currency."""
    return enveloped(request, await store.get_account(_pool(request), account_id))


@router.get(
    "/banking/accounts/{account_id}/activity",
    tags=["transactions"],
    operation_id="list_activity",
    summary="What happened lately, our own transfers included",
    response_model=list[models.Activity],
    responses={200: {"headers": _ACTIVITY_HEADERS, **examples.answered(examples.ACTIVITY)}, **_ONE},
)
async def list_activity(request: Request, account_id: AccountId, query: Annotated[ActivityQuery, Query()]) -> Response:
    """The newest as a bare list: the bank's transactions, and transfers that it does not show yet, each once.

    Freshness is in the headers here.
    """
    return bare(request, await store.list_activity(_pool(request), account_id, limit=query.limit))


@router.get(
    "/banking/accounts/{account_id}/transactions",
    tags=["transactions"],
    operation_id="list_transactions",
    summary="Transactions by filters",
    response_model=models.Transactions,
    responses={200: {"headers": _AGE, **examples.answered(examples.TRANSACTIONS)}, **_LIST_OF_ONE_AT},
)
async def list_transactions(
    request: Request, account_id: AccountId, query: Annotated[TransactionsQuery, Query()]
) -> Response:
    """The transactions that the bank shows now, or that we knew at a moment, newest first. All filters must hold."""
    before = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"filters": query.filters(), "before": before, "limit": query.limit}
    if query.known_at is None:
        return enveloped(request, await store.list_transactions(_pool(request), account_id, **asked))
    known = await moments.list_transactions(_pool(request), account_id, known_at=query.known_at, **asked)
    return enveloped(request, known, settled=True)


@router.get(
    "/banking/accounts/{account_id}/transactions/{transaction_id}",
    tags=["transactions"],
    operation_id="get_transaction",
    summary="One transaction and its versions",
    response_model=models.OneTransaction,
    responses={200: {"headers": _AGE}, **_ONE},
)
async def get_transaction(
    request: Request, account_id: AccountId, transaction_id: TransactionId, _: Annotated[Nothing, Query()]
) -> Response:
    """A transaction as the bank shows it now, and what we believed of it before; also one that is gone."""
    return enveloped(
        request, await store.get_transaction(_pool(request), account_id, transaction_id), kind="transaction"
    )


@router.get(
    "/banking/accounts/{account_id}/balances",
    tags=["balances"],
    operation_id="list_account_balances",
    summary="An account's balances, now and before",
    response_model=models.BalancesOfAccount,
    responses={200: {"headers": _AGE}, **_LIST_OF_ONE_AT},
)
async def list_account_balances(
    request: Request, account_id: AccountId, query: Annotated[BalancesOfAccountQuery, Query()]
) -> Response:
    """The balances as the bank states them, or stated them at a moment, and a page of those before, newest first."""
    before = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"before": before, "limit": query.limit}
    if query.known_at is None and query.as_of is None:
        return enveloped(request, await store.list_balance_history(_pool(request), account_id, **asked))
    at: dict[str, Any] = {"known_at": query.known_at, "as_of": query.as_of}
    known = await moments.list_balance_history(_pool(request), account_id, **at, **asked)
    return enveloped(request, known, settled=query.known_at is not None)


@router.get(
    "/banking/balances",
    tags=["balances"],
    operation_id="list_balances",
    summary="All balances",
    response_model=models.Balances,
    responses={200: {"headers": _AGE, **examples.answered(examples.BALANCES)}, **_LIST_AT},
)
async def list_balances(request: Request, query: Annotated[BalancesQuery, Query()]) -> Response:
    """The latest balance of every account, or the one at a moment, by account and currency."""
    after = page_keys(request, query.cursor, 2)
    asked: dict[str, Any] = {"currency": query.currency, "after": after, "limit": query.limit}
    if query.known_at is None and query.as_of is None:
        return enveloped(request, await store.list_balances(_pool(request), **asked))
    known = await moments.list_balances(_pool(request), known_at=query.known_at, as_of=query.as_of, **asked)
    return enveloped(request, known, settled=query.known_at is not None)


@router.get(
    "/banking/cash-flow",
    tags=["reports"],
    operation_id="list_cash_flow",
    summary="Money in and out by period",
    response_model=models.CashFlows,
    responses={200: {"headers": _AGE, **examples.answered(examples.CASH_FLOW)}, **_LIST_OF_ONE_AT},
)
async def list_cash_flow(request: Request, query: Annotated[CashFlowQuery, Query()]) -> Response:
    """Posted money by account, currency and booking date; a quarter back from today unless days are given.

    Currencies are never added up. `view` says when the totals were computed.
    """
    after = page_keys(request, query.cursor, 3)
    today = (query.known_at or datetime.now(UTC)).date()
    last = query.last or max(today, query.first or date.min)
    asked: dict[str, Any] = {
        "account_id": query.account_id,
        "currency": query.currency,
        "first": query.first or _days_before(last, CASH_FLOW_DAYS),
        "last": last,
        "group": query.group,
        "after": after,
        "limit": query.limit,
    }
    if query.known_at is None:
        return enveloped(request, await store.list_cash_flow(_pool(request), **asked))
    known = await moments.list_cash_flow(_pool(request), known_at=query.known_at, **asked)
    return enveloped(request, known, settled=True)


@router.get(
    "/banking/diff",
    tags=["reports"],
    operation_id="list_differences",
    summary="Why past days changed",
    response_model=models.Diffs,
    responses={200: {"headers": _AGE}, **_LIST_OF_ONE_AT},
)
async def list_differences(request: Request, query: Annotated[DiffQuery, Query()]) -> Response:
    """Every transaction that was known otherwise at one moment than at another, with what kind of change it is.

    The summary ties: the change of each total is the sum of the differences' effects. Days are booking dates.
    """
    after = page_keys(request, query.cursor, 3)
    known = await moments.list_differences(
        _pool(request),
        known_from=query.known_from,
        known_to=query.known_to,
        account_id=query.account_id,
        first=query.first,
        last=query.last,
        after=after,
        limit=query.limit,
    )
    return enveloped(request, known, settled=True)


@router.get(
    "/banking/sync",
    tags=["health"],
    operation_id="list_feeds",
    summary="How the mirror is kept",
    response_model=models.Sync,
    responses={200: {"headers": _AGE}, **_LIST_OF_ONE},
)
async def list_feeds(request: Request, query: Annotated[FeedsQuery, Query()]) -> Response:
    """Every feed of every account with its verdict and, where it is not fresh, why and what to do."""
    after = page_keys(request, query.cursor, 2)
    return enveloped(
        request,
        await store.list_feeds(
            _pool(request),
            account_id=query.account_id,
            feed=query.feed,
            verdict=query.verdict,
            after=after,
            limit=query.limit,
        ),
    )
