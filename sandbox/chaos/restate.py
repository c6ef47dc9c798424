"""What banks do after they told something wrong: they tell it again, and take back what never was."""

from sandbox import store
from sandbox.store import Pool

Transactions = list[tuple[str, str]]


async def restate(pool: Pool, altered: Transactions, invented: Transactions) -> set[str]:
    """Move altered transactions to the head of the log, and put tombstones there for invented ones.

    The books say the same before and after. Returns which accounts are concerned.
    """
    if not altered and not invented:
        return set()
    async with pool.connection() as conn, conn.transaction():
        ledger = await store.lock_ledger(conn)
        row = await store.fetch_row(conn, "transactions_restate", transaction_ids=[name for name, _ in altered])
        moved: int = row["moved"]
        row = await store.fetch_row(
            conn, "transactions_withdraw", head=ledger.head + moved,
            transaction_ids=[name for name, _ in invented], account_ids=[account for _, account in invented],
        )  # fmt: skip
        await store.run(conn, "ledger_advance", changes=moved + row["withdrawn"], bank_time=ledger.bank_time, ticks=0)
    return {account for _, account in (*altered, *invented)}
