"""Accounts and balances, each complete in one listing and stored in one transaction."""

from typing import Any

from banks.ports import FetchedAccount, FetchedBalance
from ingest import breaker, decide, relink
from ingest.advance import Advance, Applied, keep_refused, notify_changed, save_advance, unknown_accounts
from ingest.decide import Listed, MassDisappearance
from ingest.store import QUERIES, Claim, fetch_row, hold_lease, run_query
from kernel.database import Connection, Pool


async def apply_accounts(
    pool: Pool, claim: Claim, listed: Listed[FetchedAccount], advance: Advance, targets: dict[str, Any]
) -> Applied:
    """Store all accounts of a connection and make the targets that they need."""
    async with pool.connection() as connection:
        await hold_lease(connection, claim)
        listed = await relink.place(connection, claim, listed)
        accounts = {
            "connection_id": claim.connection_id,
            "ids": [row.account_id for row in listed.rows],
            "names": [row.name for row in listed.rows],
            "types": [row.type for row in listed.rows],
            "currencies": [row.currency for row in listed.rows],
            "statuses": [row.status for row in listed.rows],
            "refused_ids": [row.account_id for row in listed.refused],
            "let_go": await breaker.gone_accounts(connection, claim),
        }
        found = await fetch_row(connection, "accounts_changed", accounts)
        await run_query(connection, "accounts_upsert", accounts)
        await run_query(connection, "targets_ensure", targets)
        await run_query(connection, "targets_unpark", accounts)
        doubt = None
        if decide.is_doubtful_listing(found["absent"], found["absent_lately"], found["held"]):
            doubt = MassDisappearance(f"{found['absent']} of {found['held']} accounts are not listed any more")
        await breaker.judge_listed(connection, claim, found["absent_ids"], found["held"], doubted=doubt is not None)
        await keep_refused(connection, claim, listed.refused, shows_all=doubt is None)
        seen = len(listed.rows) + len(listed.refused)
        applied = Applied(seen, len(found["changed"]), 0, len(listed.refused), listed.pages, doubt)
        await save_advance(connection, claim, advance, applied, listed.as_of)
        touched = sorted({*found["changed"], *found["turned"]})
        if touched:
            await notify_changed(connection, claim, touched)
        return applied


async def apply_balances(pool: Pool, claim: Claim, listed: Listed[FetchedBalance], advance: Advance) -> Applied:
    """Store balances of known accounts. One of an unknown account waits: the accounts are listed, then it is
    read again.
    """
    async with pool.connection() as connection:
        await hold_lease(connection, claim)
        ids = [row.account_id for row in listed.rows]
        balances = {
            "connection_id": claim.connection_id,
            "run_id": claim.run_id,
            "ids": ids,
            "refused_ids": [row.account_id for row in listed.refused],
            "currencies": [row.currency for row in listed.rows],
            "currents": [row.current_minor for row in listed.rows],
            "availables": [row.available_minor for row in listed.rows],
            "as_ofs": [row.as_of for row in listed.rows],
        }
        doubt = await _doubt_balances(connection, claim, balances) if claim.account_id == "" else None
        await run_query(connection, "balances_upsert", balances)
        await run_query(connection, "balance_history_extend", balances)
        cursor = await connection.execute(QUERIES["balance_history_append"], balances)
        changed = sorted({row[0] for row in await cursor.fetchall()})
        await keep_refused(connection, claim, listed.refused, shows_all=doubt is None)
        applied = Applied(
            len(listed.rows) + len(listed.refused),
            len(changed),
            0,
            len(listed.refused),
            listed.pages,
            doubt,
            await unknown_accounts(connection, ids),
        )
        await save_advance(connection, claim, advance, applied, listed.as_of)
        if changed:
            await notify_changed(connection, claim, changed)
        return applied


async def _doubt_balances(connection: Connection, claim: Claim, balances: dict[str, Any]) -> MassDisappearance | None:
    let_go = await breaker.gone_accounts(connection, claim)
    found = await fetch_row(connection, "balances_absent", {**balances, "let_go": let_go})
    doubted = decide.is_doubtful_listing(found["absent"], found["absent_lately"], found["held"])
    await breaker.judge_listed(connection, claim, found["absent_ids"], found["held"], doubted=doubted)
    if not doubted:
        return None
    return MassDisappearance(f"{found['absent']} of {found['held']} balances are not listed any more")
