"""What Prometheus reads: requests, answers from memory, the connection pool, and the age of what is answered.

What is counted on the hot way are plain integers, made into samples only when somebody looks.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kernel.database import Pool
from readapi.entry import RouteCount
from readapi.hot import Hot
from readapi.receipts import Receipts
from readapi.store import FeedCount

# Seconds. A question to the database takes a millisecond or a few; five seconds is the statement timeout.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Anybody can invent a method, and each would be a time series for ever.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app, in a registry of its own, so that two apps in a process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.seconds = Histogram(
            "bankmirror_http_request_seconds",
            "Time to the end of the answer, where it was not from memory.",
            ["route"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.pool = Gauge(
            "bankmirror_database_pool",
            "Connections and callers of the pool.",
            ["what"],
            registry=self.registry,
        )
        self.database_up = Gauge(
            "bankmirror_database_up", "Whether the database answered just now.", registry=self.registry
        )
        self.feeds = Gauge(
            "bankmirror_feeds", "Feeds of accounts by verdict.", ["feed", "verdict"], registry=self.registry
        )
        self.feed_age = Gauge(
            "bankmirror_feed_age_seconds",
            "Since the oldest feed was confirmed by the bank.",
            ["feed"],
            registry=self.registry,
        )

    def watch(self, hot: Hot, receipts: Receipts) -> None:
        """Show what is kept in memory, too."""
        self.registry.register(Memory(hot, receipts))

    def observe_seconds(self, route: str, seconds: float) -> None:
        """An answer that was not from memory is over."""
        self.seconds.labels(route).observe(seconds)

    def count(self, method: str, route: str, status: int) -> None:
        """Count one answered request."""
        self.requests.count(method, route, status)

    def route_count(self, route: str) -> RouteCount:
        """Where answers of a route are counted that may be given many times."""
        return self.requests.kept.setdefault(route, RouteCount())

    def render(self, pool: Pool, feeds: Sequence[FeedCount] | None) -> bytes:
        """Everything in Prometheus' text format; `feeds` is None when the database did not answer."""
        stats = pool.get_stats()
        for what in (
            "pool_size",
            "pool_available",
            "requests_waiting",
            "requests_errors",
            "connections_lost",
        ):
            self.pool.labels(what).set(stats.get(what, 0))
        self.database_up.set(feeds is not None)
        self.feeds.clear()
        self.feed_age.clear()
        oldest: dict[str, float] = {}
        for feed, verdict, accounts, age_seconds in feeds or ():
            self.feeds.labels(feed, verdict).set(accounts)
            oldest[feed] = max(oldest.get(feed, 0.0), age_seconds or 0.0)
        for feed, age_seconds in oldest.items():
            self.feed_age.labels(feed).set(age_seconds)
        return generate_latest(self.registry)


class Requests(Collector):
    """Requests answered, by method, route and status."""

    def __init__(self) -> None:
        self.kept: dict[str, RouteCount] = {}
        self._counted: dict[tuple[str, str, int], int] = {}

    def count(self, method: str, route: str, status: int) -> None:
        key = (method if method in METHODS else "other", route, status)
        self._counted[key] = self._counted.get(key, 0) + 1

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "bankmirror_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        totals = dict(self._counted)
        for route, count in self.kept.items():
            for method, status, number in (
                ("GET", 200, count.get),
                ("HEAD", 200, count.head),
                ("GET", 304, count.not_modified),
            ):
                if number:
                    totals[method, route, status] = totals.get((method, route, status), 0) + number
        for (method, route, status), number in totals.items():
            family.add_metric([method, route, str(status)], number)
        yield family


class Memory(Collector):
    """What is kept in memory, and how often that was of use."""

    def __init__(self, hot: Hot, receipts: Receipts) -> None:
        self._hot, self._receipts = hot, receipts

    def collect(self) -> Iterable[Metric]:
        hot = self._hot
        counted = {
            "hits": ("Answers given from memory.", hot.hits),
            "not_modified": ("Answers that said the client has it already (304).", hot.not_modified),
            "misses": ("Answers that might have been in memory and were not.", hot.misses),
            "joins": ("Answers that were shared with somebody who had just asked the same.", hot.joins),
            "evictions": ("Answers forgotten to make room.", hot.evictions),
            "invalidations": ("Times that the database told of a change, or was not heard.", hot.invalidations),
            "spoiled_fills": ("Answers not kept, because of a change while they were made.", hot.spoiled_fills),
        }
        for name, (about, number) in counted.items():
            yield CounterMetricFamily(f"bankmirror_memory_{name}", about, value=number)
        yield GaugeMetricFamily("bankmirror_memory_entries", "Answers kept in memory.", value=len(hot))
        yield GaugeMetricFamily("bankmirror_memory_bytes", "What they take, about.", value=hot.bytes)
        yield GaugeMetricFamily("bankmirror_memory_bytes_max", "What they may take.", value=hot.bytes_max)
        receipts = self._receipts
        yield CounterMetricFamily(
            "bankmirror_receipts_written", "Answers given that are written down.", value=receipts.written
        )
        yield CounterMetricFamily(
            "bankmirror_receipts_lost", "Answers given that could not be noted.", value=receipts.lost
        )
        yield GaugeMetricFamily(
            "bankmirror_receipts_waiting", "Distinct receipts that wait to be written.", value=receipts.waiting
        )
