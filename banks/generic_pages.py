"""Documents and pages of the generic contract: what its statuses mean, and lists that are sure to end."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar

from banks import generic_rows
from banks.http import Answer, AnswerUnusableError, BankHttp
from banks.ports import (
    BankAnswerInvalid,
    BankError,
    BankGone,
    CursorExpired,
    MutatedDuringPagination,
    Page,
)

Row = TypeVar("Row")

# The most that the contract gives at once.
PAGE_ROWS = 500
# A hundred million rows, ten times the largest mirror we plan for: a bank that pages further goes round in
# circles, even if it calls every round by a new cursor.
PAGES_MAX = 200_000
# A bank may well answer with an empty page and a cursor, but not for ever.
EMPTY_PAGES_MAX = 1_000
# Cursors are stored, and travel in URLs, which servers bound at about twice this.
CURSOR_LENGTH_MAX = 4_096


async def list_pages(
    http: BankHttp,
    path: str,
    parameters: Mapping[str, str],
    translate: Callable[[Answer], Page[Row]],
    *,
    cursor: str | None = None,
    of_account: bool = False,
) -> AsyncGenerator[Page[Row]]:
    """All pages of a list from a cursor on, one in memory at a time."""
    guard = PageGuard(cursor)
    while True:
        answer = await get_answer(http, path, with_cursor(parameters, cursor), of_account=of_account)
        page = translate(answer)
        yield page
        if page.next_cursor is None:
            return
        cursor = guard.go_on(page.next_cursor, empty=not (page.rows or page.refused))


def page_of(answer: Answer, translation: Callable[[dict[str, Any]], Row]) -> Page[Row]:
    """A page of a list, each row translated or refused. Raises BankAnswerInvalid."""
    document = document_of(answer)
    rows, refused = generic_rows.translate(rows_of(document, "data"), translation)
    return Page(rows, refused, next_cursor(document), answer.bank_time)


class PageGuard:
    """Sees to it that a list has an end."""

    def __init__(self, cursor: str | None) -> None:
        # Hashes, because a backfill has tens of thousands of cursors.
        self._seen = {hash(cursor)}
        self._empty_pages = 0

    def go_on(self, cursor: str, *, empty: bool) -> str:
        """The cursor, if it leads on. Raises BankAnswerInvalid."""
        self._empty_pages = self._empty_pages + 1 if empty else 0
        if hash(cursor) in self._seen:
            raise BankAnswerInvalid("the bank repeats a cursor, so its list has no end")
        if len(self._seen) >= PAGES_MAX or self._empty_pages >= EMPTY_PAGES_MAX:
            raise BankAnswerInvalid("the bank's list does not end")
        self._seen.add(hash(cursor))
        return cursor


async def get_document(
    http: BankHttp, path: str, parameters: Mapping[str, str], *, of_account: bool
) -> tuple[dict[str, Any], Answer]:
    """An answer's object. Raises a BankError; BankGone only for a question about one account."""
    answer = await get_answer(http, path, parameters, of_account=of_account)
    return document_of(answer), answer


async def get_answer(http: BankHttp, path: str, parameters: Mapping[str, str], *, of_account: bool) -> Answer:
    """A success. Raises a BankError; BankGone only for a question about one account."""
    answer = await http.get(path, parameters)
    if not 200 <= answer.status < 300:
        raise _error(answer, has_cursor="cursor" in parameters, of_account=of_account)
    return answer


def document_of(answer: Answer) -> dict[str, Any]:
    """An answer's object. Raises BankAnswerInvalid."""
    try:
        document = answer.json()
    except AnswerUnusableError as error:
        raise BankAnswerInvalid(str(error)) from error
    if type(document) is not dict:
        raise BankAnswerInvalid("the answer is not an object")
    return document


def _error(answer: Answer, *, has_cursor: bool, of_account: bool) -> BankError:
    slug = answer.problem_slug()
    detail = f"HTTP {answer.status}, {slug or 'without a problem type'}"
    match answer.status, slug:
        case 409, "mutation-during-pagination":
            return MutatedDuringPagination(detail)
        case (410, "cursor-expired") | (400, "cursor-invalid") if has_cursor:
            return CursorExpired(detail)
        case (404, "not-found") | (410, _) if of_account:
            # A bare 404 may come from any proxy on the way, and would park an account that is alive.
            return BankGone(detail)
        case _:
            return BankAnswerInvalid(detail)


def rows_of(document: dict[str, Any], field: str) -> list[Any]:
    """The list in a field of an answer. Raises BankAnswerInvalid."""
    rows = document.get(field)
    if type(rows) is not list:
        raise BankAnswerInvalid(f"the answer has no list {field}")
    return rows


def next_cursor(document: dict[str, Any]) -> str | None:
    """None only if the bank says so: a page that forgot its cursor is not the last one."""
    cursor = document.get("next_cursor", "")
    if cursor is None:
        return None
    if type(cursor) is not str or not is_cursor(cursor):
        raise BankAnswerInvalid("next_cursor is missing or unusable")
    return cursor


def is_cursor(text: str) -> bool:
    """Whether a text can be sent back as a cursor, and stored."""
    return text.isascii() and text.isprintable() and 0 < len(text) <= CURSOR_LENGTH_MAX


def with_cursor(parameters: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    """Query parameters that ask for the page at a cursor, or for the first one."""
    page = {**parameters, "limit": str(PAGE_ROWS)}
    return page if cursor is None else {**page, "cursor": cursor}
