"""Find out what became of transfers whose outcome nobody knows. Asking always comes before sending."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from transfers import store
from transfers.states import Move, SendAgain, after_look_up, after_post
from transfers.store import Claim
from transfers.work import Worker, ask, boot_seconds, conclude, may_still_call, report_fenced, work


async def resolve_unknown(worker: Worker, wake: asyncio.Event, stopping: asyncio.Event) -> None:
    """Claim unknown transfers, and those whose worker let its lease pass, and resolve them, until told to
    stop.
    """

    async def claim(slots: int) -> list[Claim]:
        return await store.claim_unresolved(worker.pool, worker.name, worker.bank, slots, worker.settings.lease)

    await work(worker, claim, resolve, wake, stopping)


async def resolve(worker: Worker, claim: Claim, claimed_at: float) -> None:
    """Look a transfer up and do what follows. Its look-up attempt is committed with the claim."""
    if not may_still_call(worker, claimed_at):
        report_fenced(worker, claim, None)
        return
    looked_up = await ask(worker, "lookup", lambda: worker.payer.look_up(claim.payment))
    now = claim.claimed_at + timedelta(seconds=boot_seconds() - claimed_at)
    match step := after_look_up(looked_up, claim.sent, worker.rules, now):
        case Move():
            await conclude(worker, claim, looked_up, step)
        case SendAgain():
            begun_at = boot_seconds()
            attempt = await store.begin_resend(
                worker.pool, claim, looked_up, worker.name, worker.settings.lease, worker.rules.window
            )
            if attempt is None or not may_still_call(worker, begun_at):
                report_fenced(worker, claim, looked_up)
                return
            outcome = await ask(worker, "post", lambda: worker.payer.pay(claim.payment, claim.request_bytes))
            move = after_post(claim.state, outcome, posts=claim.sent.posts, contacts=attempt)
            await conclude(worker, replace(claim, attempt=attempt), outcome, move)
        case _:
            assert_never(step)
