"""The lists that may leave as files: their columns, and the statements that write them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, LiteralString, assert_never

from readapi.store import QUERIES
from readapi.transactions import Sort, completed

# What a column holds. Text may be written by third parties, words are ours; numbers have any number of digits.
Kind = Literal["text", "words", "integer", "decimal", "date", "moment"]

_ROWS = re.compile(r"\([^()]*\) /\* rows \*/")
_COMMENT = re.compile(r"--[^\n]*")
# What a spreadsheet takes for the beginning of a formula, in its wide forms as well, gets an apostrophe before it: that
# makes it text, and shows that it was one.
_DEFUSED: LiteralString = r"""regexp_replace(entry."{0}", '^[=+@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20-]', '''\&') AS "{0}" """
# As in JSON.
_ISO: LiteralString = """to_json(entry."{0}") #>> '{{}}' AS "{0}" """
_WORDS: LiteralString = """nullif(array_to_string(entry."{0}", ' '), '') AS "{0}" """
_PLAIN: LiteralString = 'entry."{0}"'


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: its name, its columns in order, its query of rows, and the query of their JSON."""

    name: str
    columns: Mapping[LiteralString, Kind]
    rows: LiteralString
    lines: LiteralString

    def copy_csv(self, *, defused: bool) -> LiteralString:
        """The COPY that writes it as CSV with a header; `defused` for what a spreadsheet may open."""
        columns: LiteralString = ", ".join(
            _shown(kind, defused=defused).format(name) for name, kind in self.columns.items()
        )
        # Of nothing but what is written here and in queries/exports.sql, as its type says.
        rows = _bare(self.rows)
        return "COPY (SELECT " + columns + " FROM (" + rows + ") AS entry) TO STDOUT (FORMAT csv, HEADER)"  # noqa: S608

    def copy_lines(self) -> LiteralString:
        """The COPY that writes a JSON object on each line.

        It is CSV with control characters for delimiter and quote: JSON has them escaped, and so nothing is ever quoted.
        """
        rows = _bare(self.rows)
        before, after = _ROWS.split(_bare(self.lines))
        lines: LiteralString = before + "(" + rows + ")" + after
        return "COPY (" + lines + ") TO STDOUT (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')"


def _shown(kind: Kind, *, defused: bool) -> LiteralString:
    match kind:
        case "text":
            return _DEFUSED if defused else _PLAIN
        case "words":
            return _WORDS
        case "moment":
            return _ISO
        case "integer" | "decimal" | "date":
            return _PLAIN
        case _:
            assert_never(kind)


def _bare(query: LiteralString) -> LiteralString:
    """A query that can stand in another one: without comments, of which one may follow it, and its end."""
    return _COMMENT.sub("", query).rstrip().rstrip(";")


_BALANCE: Mapping[LiteralString, Kind] = {
    "current_minor": "integer",
    "current": "decimal",
    "available_minor": "integer",
    "available": "decimal",
    "as_of": "moment",
    "synced_at": "moment",
}
ACCOUNTS = Listing(
    "accounts",
    {
        "account_id": "text",
        "name": "text",
        "type": "text",
        "currency": "text",
        "status": "text",
        "first_seen_at": "moment",
        "last_seen_at": "moment",
        **_BALANCE,
    },
    QUERIES["accounts_export"],
    QUERIES["accounts_lines"],
)
BALANCES = Listing(
    "balances",
    {"account_id": "text", "currency": "text", **_BALANCE},
    QUERIES["balances_export"],
    QUERIES["balances_lines"],
)
CASH_FLOW = Listing(
    "cash-flow",
    {
        "account_id": "text",
        "currency": "text",
        "period_start": "date",
        "in_minor": "integer",
        "in": "decimal",
        "out_minor": "integer",
        "out": "decimal",
        "net_minor": "integer",
        "net": "decimal",
        "entries": "integer",
    },
    QUERIES["cash_flow_export"],
    QUERIES["cash_flow_lines"],
)
_TRANSACTION: Mapping[LiteralString, Kind] = {
    "account_id": "text",
    "transaction_id": "text",
    "amount_minor": "integer",
    "amount": "decimal",
    "currency": "text",
    "status": "text",
    "type": "text",
    "created_at": "moment",
    "booked_on": "date",
    "counterparty_account_id": "text",
    "pending_transaction_id": "text",
    "description": "text",
    "counterparty_name": "text",
    "warnings": "words",
}


def transactions(
    names: frozenset[str], sort: Sort, *, everybody: bool, known: bool = False, limited: bool = False
) -> Listing:
    """The transactions with these filters in this order: of an account or of all, as they are or were `known`, and
    all of them or the first.
    """
    name = "transactions_known_export" if known else "transactions_first_export" if limited else "transactions_export"
    rows = completed(QUERIES[name], names, sort, everybody=everybody)
    return Listing("transactions", _TRANSACTION, rows, QUERIES["transactions_lines"])
