"""What an operator is told instead of a traceback: what is wrong, and the mend."""

import re
from collections.abc import Collection

from kernel.errors import StartupError

_DATABASE_MEND = "start that PostgreSQL, or correct DATABASE_URL (postgresql://user@host:5432/database)"

# What libpq says when it cannot connect, and what to do about it; the first that is found counts.
_CONNECTING = (
    (
        r"password authentication failed|no password supplied|no pg_hba",
        "correct the user and the password in DATABASE_URL",
    ),
    (r'database "[^"]*" does not exist', "create it with `createdb`, or correct DATABASE_URL"),
    (r'role "bankmirror_|invalid value for parameter "role"', "run `bankmirror migrate`: it makes the roles"),
    (r'role "[^"]*" does not exist', "correct the user in DATABASE_URL"),
    (
        r"permission denied to set role",
        "let DATABASE_URL log in as who migrated, or as the process's own role",
    ),
    (
        r"too many (clients|connections)|remaining connection slots",
        "raise max_connections of that PostgreSQL",
    ),
    (r"the database system is (starting up|shutting down)", "try again in a moment"),
)


def explain(error: BaseException) -> StartupError | None:
    """The error as an operator is told it; None for one that is a bug of ours and deserves its traceback."""
    if isinstance(error, StartupError):
        return error
    if isinstance(error, BaseExceptionGroup):
        told = [explain(inner) for inner in error.exceptions]
        return told[0] if all(told) else None
    # Asked by module first: none of these may be imported just to find out that nothing of theirs was raised.
    match type(error).__module__.partition(".")[0]:
        case "psycopg" | "psycopg_pool":
            return _explain_database(error)
        case "banks":
            return _explain_bank(error)
        case "sqlalchemy":
            # Only migrations go through it; what the database said is inside.
            inner = getattr(error, "orig", None)
            return None if inner is None else _explain_database(inner)
        case "alembic":
            return StartupError(
                f"the database cannot be migrated: {error}", "see what public.alembic_version says, or restore a backup"
            )
        case "pydantic_core":
            return _explain_settings(error, "BANKMIRROR_")
        case _ if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return StartupError(f"{error.filename}: {error.strerror}", "name a path that this account can use")
        case _:
            return None


def explain_settings(
    error: ValueError, prefix: str, *, flags: Collection[str] = (), missing: bool = True
) -> StartupError | None:
    """A ValidationError of a settings class with this prefix, by the names that an operator gave.

    Fields in `flags` were given on the command line. Without `missing`, None if nothing else is wrong.
    """
    return _explain_settings(error, prefix, flags, missing)


def _explain_settings(
    error: BaseException, prefix: str, flags: Collection[str] = (), missing: bool = True
) -> StartupError | None:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return None
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = _given_name(item["loc"], prefix, flags)
        if item["type"] != "missing":
            # A validator of ours says the whole sentence itself.
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {said}" if name else said)
        elif missing:
            lines.append(f"{name} is not set")
    if not lines:
        return None
    mend = "set it in the environment or in .env; docs/reference/settings.md says what it means"
    if "DATABASE_URL is not set" in lines:
        mend = "set it, e.g. DATABASE_URL=postgresql://user@host:5432/database, or start `bankmirror up` first"
    elif all(line.startswith("--") for line in lines):
        mend = "give it another value; `--help` says what it means"
    return StartupError("; ".join(lines), mend)


def _given_name(location: tuple[int | str, ...], prefix: str, flags: Collection[str]) -> str:
    if not location:
        return ""
    name = str(location[0])
    if name in flags:
        return f"--{name.replace('_', '-')}"
    return name if name.isupper() else f"{prefix}{name}".upper()


def _explain_database(error: BaseException) -> StartupError | None:
    import psycopg
    from psycopg_pool import PoolTimeout

    said = _one_line(str(error))
    match error:
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn() | psycopg.errors.InvalidSchemaName():
            return StartupError(
                f"the database has not the schema that this version needs: {said}", "run `bankmirror migrate`"
            )
        case psycopg.errors.UndefinedFunction():
            return StartupError(
                f"the database has not the schema that this version needs: {said}", "run `bankmirror migrate`"
            )
        case psycopg.errors.InsufficientPrivilege():
            return StartupError(
                f"the database refuses it: {said}",
                # A migration of ours says itself what is to be granted.
                error.diag.message_hint
                or "use a DATABASE_URL of the account that owns the database; to migrate, one that may make roles",
            )
        case (
            psycopg.errors.DuplicateTable()
            | psycopg.errors.DuplicateSchema()
            | psycopg.errors.DuplicateObject()
            | psycopg.errors.DuplicateFunction()
        ):
            # Only a migration makes any of these, and it makes each once.
            return StartupError(
                f"what a migration makes is there already: {said}",
                "public.alembic_version says too little: restore a backup of the database, or name an empty one",
            )
        case PoolTimeout():
            return StartupError("the database does not answer", _DATABASE_MEND)
        case psycopg.OperationalError():
            for pattern, mend in _CONNECTING:
                if re.search(pattern, said):
                    return StartupError(f"the database cannot be used: {said}", mend)
            return StartupError(f"the database does not answer: {said}", _DATABASE_MEND)
        case psycopg.ProgrammingError() if error.sqlstate is None:
            # libpq quotes what it could not parse, and a password may be in it.
            return StartupError(
                "DATABASE_URL is not a PostgreSQL URL", "write it as postgresql://user@host:5432/database"
            )
        case _:
            return None


def _explain_bank(error: BaseException) -> StartupError | None:
    from banks.ports import BankError, BankRefusedCredentials

    match error:
        case BankRefusedCredentials():
            return StartupError(f"the bank does not accept our key: {error.detail}", "correct BANK_API_KEY")
        case BankError():
            return StartupError(f"the bank cannot be read: {error.detail}", _bank_mend(error))
        case _:
            return None


def _bank_mend(error: BaseException) -> str:
    from banks.ports import (
        BankAnswerInvalid,
        BankGone,
        BankThrottled,
        BankUnreachable,
        CursorExpired,
        MutatedDuringPagination,
    )

    match error:
        case BankUnreachable(detail=detail) if detail.startswith("HTTP "):
            return "the bank is there and fails: try again in a moment; if it lasts, tell the bank"
        case BankThrottled():
            return "the bank asks for a pause: try again later, or lower BANKMIRROR_BANK_REQUESTS_PER_MINUTE"
        case BankAnswerInvalid():
            return (
                "try again in a moment; if it lasts, check that BANK_API_BASE_URL is the bank's API, or tell the bank"
            )
        case MutatedDuringPagination() | CursorExpired():
            return "the bank changed while it was read: try again"
        case BankGone():
            return "ask the bank about that account"
        case _:
            return "check BANK_API_BASE_URL and the way there"


def _one_line(text: str) -> str:
    """The first line of what libpq says, without psycopg's prefix; it repeats itself for each address."""
    line = re.sub(r"^(connection failed|connection is bad): ", "", text.strip().partition("\n")[0])
    return re.sub(r" {2,}", " ", line).strip()
