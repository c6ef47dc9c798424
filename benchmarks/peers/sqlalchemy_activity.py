"""The activity of an account as most services would answer it: FastAPI, a SQLAlchemy session a request, ORM models.

The same tables, the same JSON. It says nothing of how old the answer is, knows no scope, and keeps nothing: less work
than ours does. A `def` route, as it blocks; pool, session and serialization are the defaults.

    python -m benchmarks.peers.sqlalchemy_activity <database URL> <port>
"""

import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel
from sqlalchemy import BigInteger, create_engine, exists, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.peers.serving import serve

UNDER_WAY = ("pending_approval", "ready", "submitting", "unknown", "accepted", "manual_review")
SHOWN = {"pending_approval": "pending_approval", "accepted": "completed"}
UNCERTAIN = ("submitting", "unknown", "manual_review")
DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0}


class Base(DeclarativeBase):
    """Where the tables are known."""


class Account(Base):
    """An account."""

    __tablename__ = "accounts"
    __table_args__ = {"schema": "snapshot"}  # noqa: RUF012  # As SQLAlchemy's own pages write it.

    account_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    currency: Mapped[str]
    status: Mapped[str]


class Transaction(Base):
    """A transaction."""

    __tablename__ = "transactions"
    __table_args__ = {"schema": "snapshot"}  # noqa: RUF012

    account_id: Mapped[str] = mapped_column(primary_key=True)
    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str]
    type: Mapped[str]
    description: Mapped[str]
    counterparty_name: Mapped[str | None]
    created_at: Mapped[datetime]
    booked_on: Mapped[date | None]


class Transfer(Base):
    """A transfer of ours."""

    __tablename__ = "transfers"
    __table_args__ = {"schema": "transfer"}  # noqa: RUF012

    transfer_id: Mapped[UUID] = mapped_column(primary_key=True)
    source_account_id: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    state: Mapped[str]
    bank_transaction_id: Mapped[str | None]
    created_at: Mapped[datetime]


class UntrustedOut(BaseModel):
    """Texts of third parties."""

    description: str | None
    counterparty_name: str | None


class ActivityOut(BaseModel):
    """An entry of the answer."""

    id: str
    kind: str
    action: str
    amount_cents: int
    amount_minor: int
    amount: str
    currency: str
    status: str
    outcome_certain: bool
    created_at: datetime
    booked_on: date | None
    untrusted: UntrustedOut


engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1))
SessionLocal = sessionmaker(engine)
app = FastAPI()


def get_session() -> Iterator[Session]:
    """A session for each request."""
    with SessionLocal() as session:
        yield session


@app.get("/banking/accounts/{account_id}/activity", response_model=list[ActivityOut])
def list_activity(
    account_id: str, session: Annotated[Session, Depends(get_session)], limit: Annotated[int, Query(ge=1, le=500)] = 20
) -> list[ActivityOut]:
    """The newest transactions, and transfers that the bank does not show yet."""
    if session.get(Account, account_id) is None:
        raise HTTPException(404, "no account has this id")
    transactions = session.scalars(
        select(Transaction)
        .where(Transaction.account_id == account_id)
        .order_by(Transaction.created_at.desc(), Transaction.transaction_id.desc())
        .limit(limit)
    )
    transfers = session.scalars(
        select(Transfer)
        .where(
            Transfer.source_account_id == account_id,
            Transfer.state.in_(UNDER_WAY),
            ~exists().where(
                Transaction.account_id == Transfer.source_account_id,
                Transaction.transaction_id == Transfer.bank_transaction_id,
            ),
        )
        .order_by(Transfer.created_at.desc())
        .limit(limit)
    )
    entries = [_transaction_out(row) for row in transactions] + [_transfer_out(row) for row in transfers]
    return sorted(entries, key=lambda entry: (entry.created_at, entry.id), reverse=True)[:limit]


def _transaction_out(row: Transaction) -> ActivityOut:
    return ActivityOut(
        id=row.transaction_id,
        kind="transaction",
        action=row.type,
        amount_cents=row.amount_minor,
        amount_minor=row.amount_minor,
        amount=_major(row.amount_minor, row.currency),
        currency=row.currency,
        status=row.status,
        outcome_certain=True,
        created_at=row.created_at,
        booked_on=row.booked_on,
        untrusted=UntrustedOut(description=row.description, counterparty_name=row.counterparty_name),
    )


def _transfer_out(row: Transfer) -> ActivityOut:
    return ActivityOut(
        id=str(row.transfer_id),
        kind="transfer",
        action="transfer",
        amount_cents=-row.amount_minor,
        amount_minor=-row.amount_minor,
        amount=_major(-row.amount_minor, row.currency),
        currency=row.currency,
        status=SHOWN.get(row.state, "processing"),
        outcome_certain=row.state not in UNCERTAIN,
        created_at=row.created_at,
        booked_on=None,
        untrusted=UntrustedOut(description=None, counterparty_name=None),
    )


def _major(amount_minor: int, currency: str) -> str:
    return str(Decimal(amount_minor).scaleb(-DECIMALS[currency]))


if __name__ == "__main__":
    serve(app, int(sys.argv[2]))
