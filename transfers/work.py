"""What submitter and resolver share: claim, contact the bank under a deadline, record what it showed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psycopg
import structlog

from banks.ports import BankPayer, Outcome, Verdict
from kernel.batch import Batch
from kernel.database import Pool
from kernel.errors import Problem
from transfers.metrics import Metrics
from transfers.settings import TransfersSettings
from transfers.states import Move, Rules, State
from transfers.store import Bank, Claim, Finding

log = structlog.get_logger()

Claimer = Callable[[int], Awaitable[list[Claim]]]
Handler = Callable[["Worker", Claim, float], Awaitable[None]]


def boot_seconds() -> float:
    """A clock that nobody can set and that goes on while the machine sleeps, as leases in the database do."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Gate:
    """Open, or shut because the bank refused our credentials; then it lets one try through now and then.

    Asking on would only lock the key. What was accepted meanwhile waits, and nothing of it is lost.
    """

    def __init__(self, probe_seconds: float, metrics: Metrics) -> None:
        self._probe_seconds = probe_seconds
        self._metrics = metrics
        self._next_probe: float | None = None

    @property
    def is_shut(self) -> bool:
        return self._next_probe is not None

    def slots(self, free: int) -> int:
        """How many transfers may be claimed now."""
        if self._next_probe is None:
            return free
        return min(free, 1) if time.monotonic() >= self._next_probe else 0

    def note_probe(self) -> None:
        """A try was let through a shut gate; the next one waits again."""
        if self._next_probe is not None:
            self._next_probe = time.monotonic() + self._probe_seconds

    def note(self, verdict: Verdict) -> None:
        """Shut on refused credentials; open on any answer that only a client in good standing gets."""
        if verdict is Verdict.REFUSED_CREDENTIALS:
            if self._next_probe is None:
                log.error(
                    "SUSPENDED: the bank refuses our credentials, nothing is sent",
                    mend="correct BANK_API_KEY",
                )
            self._next_probe = time.monotonic() + self._probe_seconds
        elif verdict in (Verdict.ACCEPTED, Verdict.REJECTED, Verdict.ABSENT) and self._next_probe is not None:
            log.warning("resumed: the bank accepts our credentials again")
            self._next_probe = None
        self._metrics.suspended.set(self.is_shut)


@dataclass(frozen=True, slots=True)
class Worker:
    """One process's hands: who it is, what it works with, and what the bank allows."""

    name: str
    bank: Bank
    pool: Pool
    payer: BankPayer
    settings: TransfersSettings
    rules: Rules
    findings: Batch[Finding, bool]
    gate: Gate
    metrics: Metrics


async def work(worker: Worker, claim: Claimer, handle: Handler, wake: asyncio.Event, stopping: asyncio.Event) -> None:
    """Claim and handle transfers until told to stop; then wait for what is on the wire.

    What is not finished in time is left as it is committed: `submitting`, which is `unknown` once its lease
    ends.
    """
    running: set[asyncio.Task[None]] = set()

    def done(task: asyncio.Task[None]) -> None:
        running.discard(task)
        wake.set()

    while not stopping.is_set():
        wake.clear()
        slots = worker.gate.slots(worker.settings.transfers_in_flight_max - len(running))
        # Taken before the claim is asked for, so that our idea of the lease ends before the database's.
        claimed_at = boot_seconds()
        for taken in await _claim(claim, slots):
            task = asyncio.create_task(_handle(worker, handle, taken, claimed_at))
            running.add(task)
            task.add_done_callback(done)
        if running and worker.gate.is_shut:
            worker.gate.note_probe()
        with suppress(TimeoutError):
            async with asyncio.timeout(worker.settings.transfers_poll_seconds):
                await wake.wait()
    if running:
        log.info("waiting for payments on the wire", count=len(running))
        _, left = await asyncio.wait(running, timeout=worker.settings.transfers_drain_seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _claim(claim: Claimer, slots: int) -> list[Claim]:
    """An unanswered claim may have been committed, but nothing is sent for it: its lease will end."""
    if slots <= 0:
        return []
    try:
        return await claim(slots)
    except (psycopg.Error, Problem) as error:
        log.warning("cannot claim transfers", error=type(error).__name__)
        return []


async def _handle(worker: Worker, handle: Handler, claim: Claim, claimed_at: float) -> None:
    try:
        await handle(worker, claim, claimed_at)
    except (psycopg.Error, Problem) as error:
        # What the bank did is not recorded; the lease ends, and the resolver asks the bank.
        log.error("outcome not recorded", transfer=str(claim.transfer_id), error=type(error).__name__)
    except Exception:
        log.exception("transfer not handled", transfer=str(claim.transfer_id))


def may_still_call(worker: Worker, claimed_at: float) -> bool:
    """Whether a call that begins now ends before the lease does. After a long sleep of this process it does
    not, and somebody else may have paid meanwhile."""
    return boot_seconds() - claimed_at < worker.settings.lease.total_seconds() - worker.settings.call_deadline_seconds


async def ask(worker: Worker, kind: Literal["post", "lookup"], call: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """One contact with the bank, under a deadline of our own.

    Never raises: an adapter's failure is an unknown outcome.
    """
    try:
        async with asyncio.timeout(worker.settings.call_deadline_seconds):
            outcome = await call()
    except Exception as error:
        log.error("the bank's adapter failed", kind=kind, error=type(error).__name__)
        outcome = Outcome(Verdict.UNKNOWN, code="adapter-failed", detail=type(error).__name__)
    worker.gate.note(outcome.verdict)
    worker.metrics.contacts.labels(kind, outcome.verdict).inc()
    return outcome


async def conclude(worker: Worker, claim: Claim, outcome: Outcome, move: Move) -> None:
    """Record what a contact showed. If the claim is no longer ours, it is discarded and said so."""
    try:
        held = await worker.findings.submit(Finding(claim, outcome, move))
    except psycopg.errors.UniqueViolation:
        # The bank names a transaction that already answers for another transfer of ours.
        move = Move(State.MANUAL_REVIEW, "bank-transaction-of-another-transfer")
        held = await worker.findings.submit(Finding(claim, outcome, move))
    if not held:
        report_fenced(worker, claim, outcome)
        return
    if move.to is not claim.state:
        worker.metrics.moves.labels(move.to).inc()
    if move.to is State.MANUAL_REVIEW:
        log.error("MANUAL REVIEW: people must decide", transfer=str(claim.transfer_id), code=move.code)


def report_fenced(worker: Worker, claim: Claim, outcome: Outcome | None) -> None:
    """Say that a worker came too late. Whoever took over has the evidence, or will ask for it."""
    worker.metrics.fenced.inc()
    log.error(
        "FENCED: this worker slept through its lease",
        transfer=str(claim.transfer_id),
        epoch=claim.epoch,
        verdict=outcome and outcome.verdict,
    )
