"""The page's part on reading."""

import statistics
from collections.abc import Callable

from benchmarks import reads
from benchmarks.bars import MIB, Bar, table
from benchmarks.load import Load
from benchmarks.reads import Reads

# What the read API may grow by between the first and the second half of the different URLs: its cache is full by then,
# and what is left is the allocator's.
GROWTH_MIB = 8


def section(measured: Reads) -> list[str]:
    """The heading, how it was measured, the tables and the bars."""
    size = measured.size
    return [
        "## Reading",
        "",
        f"The 20 newest entries of an account, of {size.accounts:,} accounts with {size.per_account:,} transactions",
        "each. Every server is one process on the same HTTP server; all read the same database and were loaded in turn",
        f"by wrk with {size.connections} connections, {size.rounds} rounds of {size.seconds:g} s. *Hot* is one account",
        "again and again, kept in memory. *Cold* is an account drawn anew for each request, with nothing kept: its",
        "rows, its transfers under way and the verdict on its freshness, filtered in the database by what the caller",
        "may see. The SQLAlchemy route is what many would write: a session a request, ORM models over the same tables,",
        "a pydantic model; the same entries, and nothing of freshness or scope, for accounts drawn in the same way.",
        "The read API holds up to 16 database connections here; the default is 8, with which a crowd of 256 that",
        "nothing is kept for is partly refused. The bars are medians of the rounds, beside the least and the greatest.",
        "",
        *_rates(measured),
        "",
        *table(_bars(measured)),
        *_crowds(measured),
        "",
        *_memory(measured),
        "",
    ]


def ratios(measured: Reads, name: str, other: str, of: Callable[[Load], float]) -> list[float]:
    """One way's figure by another's, of every round, which each had both in turn."""
    pairs = zip(measured.rounds[name], measured.rounds[other], strict=True)
    return [of(load) / of(beside) for load, beside in pairs]


def _per_second(load: Load) -> float:
    return load.per_second


def _server_cpu(load: Load) -> float:
    return load.server_cpu_micros


def _rates(measured: Reads) -> list[str]:
    lines = [
        "| | a second | processor time of the server, µs | with PostgreSQL's, µs | p50, ms | p99, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, loads in measured.rounds.items():

        def median(of: Callable[[Load], float], loads: list[Load] = loads) -> float:
            return statistics.median(map(of, loads))

        rate, own, whole = (median(of) for of in (_per_second, _server_cpu, lambda load: load.cpu_micros))
        p50, p99 = median(lambda load: load.p50), median(lambda load: load.p99)
        lines.append(f"| {name} | {rate:,.0f} | {own:,.0f} | {whole:,.0f} | {p50:.2f} | {p99:.2f} |")
    return lines


def _bars(measured: Reads) -> list[Bar]:
    wanted = (
        ("hot, times the SQLAlchemy route", reads.HOT, reads.SQLALCHEMY, 25),
        ("hot, of a bare ASGI app with the same bytes", reads.HOT, reads.BARE, 0.8),
        ("cold, times the SQLAlchemy route", reads.COLD, reads.SQLALCHEMY, 4),
        ("304, of hot", reads.UNCHANGED, reads.HOT, 1),
        ("hot with a token, of hot without", reads.HOT_TOKEN, reads.HOT, 0.9),
        ("cold with a token, of cold without", reads.COLD_TOKEN, reads.COLD, 0.9),
    )
    bars = []
    for what, name, other, least in wanted:
        rounds = ratios(measured, name, other, _per_second)
        faster, cheaper = statistics.median(rounds), statistics.median(ratios(measured, other, name, _server_cpu))
        spread = f"rounds {min(rounds):.2f} to {max(rounds):.2f}, by processor time {cheaper:.2f}"
        bars.append(Bar(f"{what} ({spread})", f"at least {least:g}", faster, faster >= least))
    return bars


def _crowds(measured: Reads) -> list[str]:
    size = measured.size
    lines = [
        f"Latencies while ingest applies {measured.changes_per_second:,.0f} changes a second to random accounts,",
        f"with notifications (asked were {size.changes_per_second:,}): *hot* over {size.busy_accounts} accounts,",
        "whose answers are kept until a change ends them, *cold* over all. So few are chosen for *hot* because among",
        "all of them an answer rarely lasts until it is asked for again at this rate; this run does not measure that.",
        "",
        "| | connections | a second | p50, ms | p90, ms | p99, ms | refused |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way, connections, load in sorted(
        measured.crowds, key=lambda crowd: (crowd.way == reads.COLD, crowd.connections)
    ):
        quantiles = f"{load.p50:.2f} | {load.p90:.2f} | {load.p99:.2f}"
        refused = load.failed / load.requests
        lines.append(f"| {way} | {connections} | {load.per_second:,.0f} | {quantiles} | {refused:.1%} |")
    return lines


def _memory(measured: Reads) -> list[str]:
    before, half, end = (size / MIB for size in measured.memory.bytes_at)
    bar = Bar(
        "MiB more over the second half of the different URLs",
        f"at most {GROWTH_MIB}",
        end - half,
        end - half <= GROWTH_MIB,
    )
    return [
        f"Memory of the read API over {measured.memory.urls:,} different URLs: {before:.0f} MiB before, {half:.0f} MiB",
        f"after half of them, {end:.0f} MiB at the end.",
        "",
        *table([bar]),
        "A million of them: `BANKMIRROR_BENCH_URLS=1000000 BANKMIRROR_BENCH_ONLY=reads make bench`.",
    ]
