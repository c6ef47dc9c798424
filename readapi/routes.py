"""The endpoints: what may be asked, and which question of the store answers it."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from kernel import errors
from kernel.database import Pool
from readapi import examples, models, store
from readapi.answers import FRESHNESS_HEADERS, bare, enveloped, page_keys
from readapi.documentation import problem_responses
from readapi.filters import (
    ID_LENGTH,
    NO_NUL,
    AccountsQuery,
    ActivityQuery,
    BalancesQuery,
    CashFlowQuery,
    FeedsQuery,
    Nothing,
    PageQuery,
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
_AGE: dict[str, Any] = {
    "Cache-Control": {
        "schema": {"type": "string"},
        "description": "private, max-age=<seconds until fresh_until>",
    },
    "Age": {"schema": {"type": "integer"}, "description": "Seconds since synced_at."},
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
    return bare(await store.list_activity(_pool(request), account_id, limit=query.limit))


@router.get(
    "/banking/accounts/{account_id}/transactions",
    tags=["transactions"],
    operation_id="list_transactions",
    summary="Transactions by filters",
    response_model=models.Transactions,
    responses={200: {"headers": _AGE, **examples.answered(examples.TRANSACTIONS)}, **_LIST_OF_ONE},
)
async def list_transactions(
    request: Request, account_id: AccountId, query: Annotated[TransactionsQuery, Query()]
) -> Response:
    """The transactions that the bank shows now, newest first. All filters given must hold."""
    before = page_keys(request, query.cursor, 2)
    return enveloped(
        request,
        await store.list_transactions(
            _pool(request), account_id, filters=query.filters(), before=before, limit=query.limit
        ),
    )


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
    responses={200: {"headers": _AGE}, **_LIST_OF_ONE},
)
async def list_account_balances(
    request: Request, account_id: AccountId, query: Annotated[PageQuery, Query()]
) -> Response:
    """The balances as the bank states them, and a page of those that it stated before, newest first."""
    before = page_keys(request, query.cursor, 2)
    return enveloped(
        request,
        await store.list_balance_history(_pool(request), account_id, before=before, limit=query.limit),
    )


@router.get(
    "/banking/balances",
    tags=["balances"],
    operation_id="list_balances",
    summary="All balances",
    response_model=models.Balances,
    responses={200: {"headers": _AGE, **examples.answered(examples.BALANCES)}, **_LIST},
)
async def list_balances(request: Request, query: Annotated[BalancesQuery, Query()]) -> Response:
    """The latest balance of every account, by account and currency."""
    after = page_keys(request, query.cursor, 2)
    return enveloped(
        request,
        await store.list_balances(_pool(request), currency=query.currency, after=after, limit=query.limit),
    )


@router.get(
    "/banking/cash-flow",
    tags=["reports"],
    operation_id="list_cash_flow",
    summary="Money in and out by period",
    response_model=models.CashFlows,
    responses={200: {"headers": _AGE, **examples.answered(examples.CASH_FLOW)}, **_LIST_OF_ONE},
)
async def list_cash_flow(request: Request, query: Annotated[CashFlowQuery, Query()]) -> Response:
    """Posted money by account, currency and booking date; a quarter back from today unless days are given.

    Currencies are never added up. `view` says when the totals were computed.
    """
    after = page_keys(request, query.cursor, 3)
    last = query.last or max(datetime.now(UTC).date(), query.first or date.min)
    return enveloped(
        request,
        await store.list_cash_flow(
            _pool(request),
            account_id=query.account_id,
            currency=query.currency,
            first=query.first or _days_before(last, CASH_FLOW_DAYS),
            last=last,
            group=query.group,
            after=after,
            limit=query.limit,
        ),
    )


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
