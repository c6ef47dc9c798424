"""The generic bank contract, spoken by the sandbox: lists by cursor, a change feed, payments under a key."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from types import NoneType
from urllib.parse import quote

import structlog

from banks import generic_clean, generic_rows
from banks.generic_pages import (
    PageGuard,
    document_of,
    get_answer,
    get_document,
    list_pages,
    next_cursor,
    page_of,
    rows_of,
    with_cursor,
)
from banks.http import Answer, AnswerUnusableError, BankHttp, CallFailedError
from banks.outcomes import Answered, Echo, NoAnswer, Vocabulary, judge_look_up, judge_payment
from banks.ports import (
    BankAnswerInvalid,
    BankError,
    BankThrottled,
    BankUnreachable,
    Capabilities,
    ChangePage,
    FetchedAccount,
    FetchedBalance,
    FetchedTransaction,
    Outcome,
    Page,
    Payment,
    Refused,
    Verdict,
    Window,
)

log = structlog.get_logger()

CAPABILITIES = Capabilities(
    delta_feed=True,
    bulk_balances=True,
    lookup_by_reference=True,
    webhooks=True,
    idempotency_retention=timedelta(hours=24),
)
VOCABULARY = Vocabulary(
    declines=frozenset(
        (422, code)
        for code in (
            "account-closed",
            "account-not-found",
            "amount-invalid",
            "currency-mismatch",
            "insufficient-funds",
            "same-account",
        )
    ),
    key_reused=frozenset({"idempotency-key-reused"}),
)
# A reference belongs to one payment. This many rows under one prove that the bank did not look for it.
LOOK_UP_ROWS_MAX = 100


class GenericReader:
    """A `BankReader` for the generic contract."""

    name = "generic"
    capabilities = CAPABILITIES

    def __init__(self, http: BankHttp, base_url: str) -> None:
        self.base_url = base_url
        self._http = http

    async def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
        """All accounts, open and closed."""
        async for page in list_pages(self._http, "/accounts", {}, _accounts_page):
            yield page

    async def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        """The balances of all accounts, or of one."""
        if account_id is None:
            async for page in list_pages(self._http, "/balances", {}, _balances_page):
                yield page
            return
        path = f"/accounts/{quote(account_id, safe='')}/balance"
        document, answer = await get_document(self._http, path, {}, of_account=True)
        rows, refused = generic_rows.translate([document], generic_rows.balance)
        _insist_on_account(rows, account_id)
        yield Page(rows, refused, None, answer.bank_time)

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """What changed since a cursor, None for everything."""
        guard = PageGuard(cursor)
        while True:
            parameters = with_cursor({}, cursor)
            page = _change_page(await get_answer(self._http, "/transactions/changes", parameters, of_account=False))
            yield page
            if not page.has_more:
                return
            cursor = guard.go_on(page.cursor, empty=not (page.upserts or page.removed or page.refused))

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        """The transactions of one account in a window, oldest first."""
        parameters = {
            "account_id": account_id,
            "from": window.first.isoformat(),
            "to": window.last.isoformat(),
        }
        listing = list_pages(
            self._http, "/transactions", parameters, _transactions_page, cursor=cursor, of_account=True
        )
        async for page in listing:
            _insist_on_account(page.rows, account_id)
            yield page

    async def register_webhook(self, url: str) -> None:
        """The bank keeps one registration of an address, however often it is sent."""
        await self._http.gate.enter()
        try:
            answer = await self._http.post_once("/webhooks", json.dumps({"url": url}).encode(), {})
        except CallFailedError as error:
            raise BankUnreachable(str(error)) from error
        except AnswerUnusableError as error:
            raise BankAnswerInvalid(str(error)) from error
        if not 200 <= answer.status < 300:
            raise BankAnswerInvalid(f"HTTP {answer.status}, {answer.problem_slug() or 'without a problem type'}")


class GenericPayer:
    """A `BankPayer` for the generic contract.

    A task that is cancelled in `pay` stops waiting at once, and the payment may have been made: the attempt
    that was committed before is what makes it unknown rather than forgotten.
    """

    name = "generic"
    capabilities = CAPABILITIES

    def __init__(self, http: BankHttp) -> None:
        self._http = http

    def encode(self, payment: Payment) -> bytes:
        """The order as canonical JSON: sorted names, no blanks, ASCII. The same payment is the same bytes."""
        order = {
            "amount_cents": payment.amount_minor,
            "client_reference": payment.bank_key,
            "currency": payment.currency,
            "destination_account_id": payment.destination_account_id,
            "source_account_id": payment.source_account_id,
            "type": "transfer",
        }
        return json.dumps(order, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    async def pay(self, payment: Payment, request_bytes: bytes) -> Outcome:
        """Send once, without any retry."""
        return judge_payment(await self._post(payment, request_bytes), payment, VOCABULARY)

    async def _post(self, payment: Payment, request_bytes: bytes) -> NoAnswer | Answered:
        try:
            answer = await self._http.post_once("/transactions", request_bytes, {"Idempotency-Key": payment.bank_key})
        except CallFailedError as error:
            return NoAnswer(str(error), error.sent, error.status)
        except AnswerUnusableError as error:
            return Answered(error.status)
        except Exception as error:
            # Our bug or a library's, but the money may be on its way all the same.
            log.exception("a payment's call failed in an unforeseen way")
            return NoAnswer(type(error).__name__, sent=True)
        return Answered(answer.status, answer.problem_slug(), _echo(answer), answer.retry_after)

    async def look_up(self, payment: Payment) -> Outcome:
        """Ask whether the bank has it, under the reference that it was sent with."""
        try:
            # However many pages and attempts: the caller holds a lease for as long as one call may take.
            async with asyncio.timeout(self._http.deadline_seconds):
                rows, refused = await self._find(payment)
        except BankThrottled as error:
            return Outcome(Verdict.UNKNOWN, code=error.slug, detail=error.detail, retry_after=error.retry_after)
        except BankError as error:
            return Outcome(Verdict.UNKNOWN, code=error.slug, detail=error.detail)
        except TimeoutError:
            return Outcome(Verdict.UNKNOWN, code=BankUnreachable.slug, detail="no answer in time")
        except Exception as error:
            log.exception("a payment's look-up failed in an unforeseen way")
            return Outcome(Verdict.UNKNOWN, code="look-up-failed", detail=type(error).__name__)
        return judge_look_up(rows, refused, payment, http_status=200)

    async def _find(self, payment: Payment) -> tuple[list[FetchedTransaction], list[Refused]]:
        rows: list[FetchedTransaction] = []
        refused: list[Refused] = []
        parameters = {"account_id": payment.source_account_id, "client_reference": payment.bank_key}
        async with aclosing(list_pages(self._http, "/transactions", parameters, _transactions_page)) as pages:
            async for page in pages:
                rows += page.rows
                refused += page.refused
                if len(rows) > LOOK_UP_ROWS_MAX:
                    break
        return rows, refused


_accounts_page = partial(page_of, translation=generic_rows.account)
_balances_page = partial(page_of, translation=generic_rows.balance)


def _transactions_page(answer: Answer) -> Page[FetchedTransaction]:
    clean = generic_clean.read_listing(answer.body) if answer.is_json else None
    if clean is not None:
        return Page(clean.rows, [], clean.next_cursor, answer.bank_time)
    return page_of(answer, generic_rows.transaction)


def _change_page(answer: Answer) -> ChangePage:
    """Added before modified: of a row that is in both, the modified one came later."""
    clean = generic_clean.read_changes(answer.body) if answer.is_json else None
    if clean is not None:
        return ChangePage(clean.upserts, clean.removed, [], clean.cursor, clean.has_more, answer.bank_time)
    document = document_of(answer)
    upserts, refused = generic_rows.translate(
        [*rows_of(document, "added"), *rows_of(document, "modified")], generic_rows.transaction
    )
    removed, not_removed = generic_rows.translate(rows_of(document, "removed"), generic_rows.removal)
    cursor, has_more = next_cursor(document), document.get("has_more")
    if cursor is None or type(has_more) is not bool:
        raise BankAnswerInvalid("a page of changes lacks its cursor, or does not say whether there is more")
    return ChangePage(upserts, removed, [*refused, *not_removed], cursor, has_more, answer.bank_time)


def _insist_on_account(rows: Sequence[FetchedBalance] | Sequence[FetchedTransaction], account_id: str) -> None:
    """A bank that ignores the filter would have us take another account's list for this one's."""
    if any(row.account_id != account_id for row in rows):
        raise BankAnswerInvalid("the bank answers with another account than was asked for")


def _echo(answer: Answer) -> Echo | None:
    """What a success confirms; None for one that cannot be read.

    Required are the bank's id and a status that means the bank has it. The rest may be missing, as the order
    (source, destination, positive amount) or as the transaction that it became (account, counterparty,
    negative).
    """
    try:
        body = answer.json()
    except AnswerUnusableError:
        return None
    if type(body) is not dict or body.get("status") not in ("pending", "posted"):
        return None
    transaction_id = generic_rows.identifier(body.get("transaction_id"))
    amount = body.get("amount_cents")
    counterparty = body.get("counterparty")
    if transaction_id is None or type(amount) not in (int, NoneType) or type(counterparty) not in (dict, NoneType):
        return None
    currency, reference = body.get("currency"), body.get("client_reference")
    if "source_account_id" in body:
        source, destination = body["source_account_id"], body.get("destination_account_id")
    else:
        source, destination = body.get("account_id"), (counterparty or {}).get("account_id")
        amount = None if amount is None else -amount
    return Echo(transaction_id, source, destination, amount, currency, reference)
