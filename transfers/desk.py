"""The desk where transfers are asked for: accepts them, and waits a while with the client for the outcome."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from uuid import UUID

import psycopg

from kernel.batch import Batch
from kernel.caller import Caller
from kernel.database import Pool, is_commit_in_doubt, read, translate_error
from kernel.errors import NotFound, OutcomeUnknown, Problem
from transfers import store
from transfers.accept import Accepted, Asked
from transfers.listener import Waiters
from transfers.metrics import Metrics
from transfers.requests import TransferRequest
from transfers.settings import TransfersSettings
from transfers.states import CONCLUDED, State
from transfers.store import Transfer


class Desk:
    """What the routes need of a running process."""

    def __init__(
        self,
        settings: TransfersSettings,
        pool: Pool,
        requests: Batch[Asked, Accepted | Problem],
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.metrics = metrics
        self.waiters = Waiters()
        self._requests = requests

    async def accept(self, caller: Caller, client_key: str | None, request: TransferRequest) -> Accepted:
        """Record a request, or find the transfer that it made before.

        Raises the Problem that stands against it.
        """
        try:
            principal = caller.principal or self.settings.principal
            result = await self._requests.submit(Asked(principal, client_key, request, caller.accounts))
        except psycopg.Error as error:
            if client_key is None and is_commit_in_doubt(error):
                raise OutcomeUnknown("the transfer may have been recorded; look at the account's activity") from error
            raise (translate_error(error) or error) from error
        if isinstance(result, Problem):
            self.metrics.requests.labels(result.slug).inc()
            raise result
        self.metrics.requests.labels("replayed" if result.replayed else "accepted").inc()
        return result

    async def outcome(self, transfer_id: UUID) -> Transfer:
        """The transfer as soon as the bank's answer is known, or as it stands when the client has waited long
        enough.
        """
        deadline = time.monotonic() + self.settings.transfers_wait_seconds
        with self.waiters.watch(transfer_id) as moved:
            while True:
                moved.clear()
                transfer = await self.get(transfer_id)
                left = deadline - time.monotonic()
                if transfer.state in CONCLUDED or left <= 0:
                    return transfer
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, self.settings.transfers_poll_seconds)):
                        await moved.wait()

    async def get(self, transfer_id: UUID) -> Transfer:
        """One transfer as it stands. Raises NotFound."""
        transfer = await read(self.pool, partial(store.select_transfer, transfer_id=transfer_id))
        if transfer is None:
            raise NotFound("no transfer has this id")
        return transfer

    async def render_metrics(self) -> bytes:
        """Everything for Prometheus."""
        counted = await read(self.pool, store.count_open)
        return self.metrics.render(sorted(set(State) - _ENDS), counted)


_ENDS = {State.SETTLED, State.REJECTED, State.RETURNED, State.CANCELED}
