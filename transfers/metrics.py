"""What Prometheus is told: counters of this process, and what the database says at the moment of a scrape."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """One registry for each app, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bankmirror_transfer_requests", "Transfer requests by result.", ["result"], registry=self.registry
        )
        self.contacts = Counter(
            "bankmirror_transfer_contacts",
            "Contacts with the bank by kind (post, lookup) and verdict.",
            ["kind", "verdict"],
            registry=self.registry,
        )
        self.moves = Counter(
            "bankmirror_transfer_moves",
            "Moves of transfers by the state moved to.",
            ["to"],
            registry=self.registry,
        )
        self.fenced = Counter(
            "bankmirror_transfer_fenced",
            "Results that were discarded because their worker had slept through its lease.",
            registry=self.registry,
        )
        self.suspended = Gauge(
            "bankmirror_transfer_submitter_suspended",
            "1 while the bank refuses our credentials and nothing is sent.",
            registry=self.registry,
        )
        self.listening = Gauge(
            "bankmirror_transfer_listening", "1 while database notifications arrive.", registry=self.registry
        )
        self.foreign = Gauge(
            "bankmirror_transfers_of_another_bank",
            "Transfers that wait for a process that talks to the bank they were made for.",
            registry=self.registry,
        )
        self._open = Gauge(
            "bankmirror_transfers",
            "Transfers that are not at an end, by state.",
            ["state"],
            registry=self.registry,
        )
        self._oldest = Gauge(
            "bankmirror_transfers_oldest_seconds",
            "Age of the oldest transfer in each state that is not an end.",
            ["state"],
            registry=self.registry,
        )

    def render(self, open_states: Iterable[str], counted: Iterable[Mapping[str, Any]]) -> bytes:
        """All of it in Prometheus' text format; a state that is not counted is 0, not absent."""
        rows = {row["state"]: row for row in counted}
        for state in open_states:
            row = rows.get(state)
            self._open.labels(state).set(row["count"] if row else 0)
            self._oldest.labels(state).set(row["oldest_seconds"] if row else 0)
        return generate_latest(self.registry)
