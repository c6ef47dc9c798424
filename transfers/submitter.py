"""Send what is ready. Every attempt is committed before a byte of it leaves, and nothing here sends twice."""

import asyncio

from transfers import store
from transfers.states import after_post
from transfers.store import Claim
from transfers.work import Worker, ask, conclude, may_still_call, report_fenced, work


async def submit_ready(worker: Worker, wake: asyncio.Event, stopping: asyncio.Event) -> None:
    """Claim ready transfers and send each of them once, until told to stop."""

    async def claim(slots: int) -> list[Claim]:
        return await store.claim_ready(worker.pool, worker.name, worker.bank, slots, worker.settings.lease)

    await work(worker, claim, send, wake, stopping)


async def send(worker: Worker, claim: Claim, claimed_at: float) -> None:
    """Send a claimed transfer.

    That there is a claim means that its attempt is committed and the commit acknowledged.
    """
    if not may_still_call(worker, claimed_at):
        report_fenced(worker, claim, None)
        return
    outcome = await ask(worker, "post", lambda: worker.payer.pay(claim.payment, claim.request_bytes))
    move = after_post(claim.state, outcome, posts=claim.sent.posts, contacts=claim.attempt)
    await conclude(worker, claim, outcome, move)
