"""What Prometheus reads: requests, the connection pool, and the age of what is answered."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kernel.database import Pool
from readapi.store import FeedCount

# Seconds. A question to the database takes a millisecond or a few; five seconds is the statement timeout.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Anybody can invent a method, and each would be a time series for ever.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app, in a registry of its own, so that two apps in a process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bankmirror_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "bankmirror_http_request_seconds",
            "Time to the end of the answer.",
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

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method if method in METHODS else "other", route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

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
