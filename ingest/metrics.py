"""What Prometheus is told about ingest."""

from prometheus_client import Counter, Gauge, Histogram

RUNS = Counter("bankmirror_ingest_runs", "Polls that ended, by feed and outcome.", ["feed", "outcome"])
RUN_SECONDS = Histogram(
    "bankmirror_ingest_run_seconds",
    "Seconds that a poll took, from its claim to its last commit.",
    ["feed"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120),
)
ROWS_CHANGED = Counter("bankmirror_ingest_rows_changed", "Rows stored because they were new or different.", ["feed"])
ROWS_REMOVED = Counter("bankmirror_ingest_rows_removed", "Rows that left the mirror.", ["feed"])
LEASES_LOST = Counter(
    "bankmirror_ingest_leases_lost", "Runs that another process took over; nothing of them was written."
)
QUARANTINE_OPEN = Gauge(
    "bankmirror_ingest_quarantine_open", "Rows of the bank that were refused and wait for somebody."
)
JOBS_MISSED = Counter(
    "bankmirror_ingest_jobs_missed", "Scheduler jobs that failed, were missed or overlapped.", ["job"]
)
REFRESHES = Counter("bankmirror_ingest_refreshes", "Refreshes of the materialized views.")
