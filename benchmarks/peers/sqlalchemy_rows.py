"""The same bank into the same server by what many begin with: SQLAlchemy, an upsert a row, a commit a page.

python -m benchmarks.peers.sqlalchemy_rows <bank's address> <database URL>
"""

import sys
from datetime import date, datetime

import httpx
from sqlalchemy import BigInteger, create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PAGE_ROWS = 500
KEY = ["account_id", "transaction_id"]


class Base(DeclarativeBase):
    """Where the table is known."""


class Transaction(Base):
    """A transaction as the bank shows it."""

    __tablename__ = "transactions"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str]
    type: Mapped[str]
    description: Mapped[str]
    counterparty_name: Mapped[str | None]
    counterparty_account_id: Mapped[str | None]
    client_reference: Mapped[str | None]
    pending_transaction_id: Mapped[str | None]
    created_at: Mapped[datetime]
    booked_on: Mapped[date | None]


def main(bank_url: str, database_url: str, pages: str) -> None:
    """Load so many pages of the change feed."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    Base.metadata.create_all(engine)
    cursor: str | None = None
    with httpx.Client(base_url=bank_url, headers={"Authorization": "Bearer bench"}) as bank, Session(engine) as session:
        for _ in range(int(pages)):
            asked = {"limit": str(PAGE_ROWS)} | ({} if cursor is None else {"cursor": cursor})
            page = bank.get("/transactions/changes", params=asked).raise_for_status().json()
            for row in page["added"]:
                counterparty = row.pop("counterparty") or {"name": None, "account_id": None}
                values = row | {f"counterparty_{name}": value for name, value in counterparty.items()}
                upsert = insert(Transaction).values(values)
                changed = {name: upsert.excluded[name] for name in values}
                session.execute(
                    upsert.on_conflict_do_update(index_elements=["account_id", "transaction_id"], set_=changed)
                )
            session.commit()
            if not page["has_more"]:
                return
            cursor = page["next_cursor"]


if __name__ == "__main__":
    main(*sys.argv[1:])
