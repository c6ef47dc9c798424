"""Results as a page and a plot. Bars are ratios; a miss is shown as a miss."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report_questions, report_reads
from benchmarks.bars import MIB, Bar, table
from benchmarks.growth import Grown
from benchmarks.reads import Reads
from benchmarks.results import Results
from benchmarks.side import COPY, DLT, MIRROR, SQLALCHEMY, Side

KEPT = "*Of an earlier run, perhaps on another machine.*"


def machine() -> str:
    """What this ran on."""
    described = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in described if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def page(results: Results, before: str = "") -> str:
    """benchmarks/RESULTS.md. What was measured on another machine is taken over from the page as it was `before`."""
    side = _kept(before, "## Mirroring ") if results.side is None else _side_by_side(results.side)
    grown = _growth(results.grown) if results.grown else _kept(before, "## Growth")
    reads = [] if results.reads is None else [*report_reads.section(results.reads), *_asking(results.reads)]
    return "\n".join([*_head(), *reads, *side, *grown]).rstrip("\n") + "\n"


def _kept(before: str, heading: str) -> list[str]:
    """A section of the page as it was, which says that it is older than the rest."""
    sections = re.split(r"^(?=## )", before, flags=re.MULTILINE)
    found = [section for section in sections if section.startswith(heading)]
    return [section if KEPT in section else section.replace("\n\n", f"\n\n{KEPT}\n\n", 1) for section in found]


def _asking(reads: Reads) -> list[str]:
    return report_questions.section(reads.questions, reads.described_bytes, reads.alone)


def _head() -> list[str]:
    return [
        "# Results",
        "",
        "Written by `make bench`. Ratios count; the machine is one of many, and may have been busy with other things.",
        "",
        f"{machine()}. The bank, PostgreSQL and what is measured share them.",
        "",
    ]


def _side_by_side(side: Side) -> list[str]:
    lines = [
        f"## Mirroring {side.rows:,} transactions",
        "",
        "The same rows from the same paged bank over HTTP into the same PostgreSQL, each way as a whole process from",
        "its start to its end, in turn. The bank answers with pages that it hardly has to make, so that it is not what",
        "is measured. Bankmirror keeps history, totals, coverage and freshness besides the rows; the others keep the",
        "rows. COPY is the floor: no bank, no parsing, no process to start, the encoded rows straight from memory into",
        "a table with the same indexes. Row by row is measured on the first 10,000 rows.",
        "",
        "| | rows/s (median) | share of COPY |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {name} | {side.rate(name):,.0f} | {side.share_of(name, COPY):.2f} |"
        for name in (MIRROR, COPY, DLT, SQLALCHEMY)
    ]
    of_copy, of_dlt = side.share_of(MIRROR, COPY), side.share_of(MIRROR, DLT)
    bars = [
        Bar("of plain COPY", "at least 0.4", of_copy, of_copy >= 0.4),
        Bar("times dlt, merging", "at least 4", of_dlt, of_dlt >= 4),
    ]
    return [*lines, "", *table(bars)]


def _growth(grown: Sequence[Grown]) -> list[str]:
    lines = [
        "## Growth",
        "",
        "50 accounts over two years at every size: a larger mirror has more rows a day. A poll that finds 100 changes",
        "(50 new rows, 50 changed ones all over the past) is timed from its claim to its last changeset, fetching",
        "included; the refresh of the materialized view after it by itself.",
        "",
        "![growth](growth.svg)",
        "",
        "| rows | backfill, rows/s | peak memory, MiB | poll of 100 changes, ms | refresh, ms |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {size.rows:,} | {size.rows / size.backfill_seconds:,.0f} | {_mebibytes(size)} "
        f"| {size.poll_seconds * 1000:.1f} | {size.refresh_seconds * 1000:.1f} |"
        for size in grown
    ]
    by_rows = {size.rows: size for size in grown}
    small, middle = by_rows.get(100_000), by_rows.get(1_000_000)
    large = max(grown, key=lambda size: size.rows)
    named = f"at {large.rows:,} rows"
    bars = []
    if small is not None and large is not small:
        slower = large.poll_seconds / small.poll_seconds
        bars.append(Bar(f"poll {named}, times one at 100,000", "at most 1.3", slower, slower <= 1.3))
        if small.peak_bytes is not None and large.peak_bytes is not None:
            more = (large.peak_bytes - small.peak_bytes) / MIB
            bars.append(Bar(f"MiB of memory more {named} than at 100,000", "at most 20", more, more <= 20))
    if middle is not None and large is not middle:
        slower = large.refresh_seconds / middle.refresh_seconds
        bars.append(Bar(f"refresh {named}, times one at 1,000,000", "at most 2", slower, slower <= 2))
    larger = "10,000,000 rows are measured by `BANKMIRROR_BENCH_GROWTH=10000000 make bench`; not in this run."
    return [*lines, "", *table(bars), *([] if 10_000_000 in by_rows else [larger])]


def _mebibytes(size: Grown) -> str:
    return "unknown" if size.peak_bytes is None else f"{size.peak_bytes / MIB:.0f}"


# ── the plot ────────────────────────────────────────────────────────────────────────────────────────────────

_WIDTH, _HEIGHT, _GAP, _MARGIN = 220, 150, 40, 34


def plot(grown: Sequence[Grown]) -> str:
    """benchmarks/growth.svg: four small panels over the number of rows. What is flat does not grow."""
    panels = [
        ("backfill, rows/s", [size.rows / size.backfill_seconds for size in grown]),
        ("peak memory, MiB", [(size.peak_bytes or 0) / MIB for size in grown]),
        ("poll of 100 changes, ms", [size.poll_seconds * 1000 for size in grown]),
        ("refresh, ms", [size.refresh_seconds * 1000 for size in grown]),
    ]
    labels = [_short(size.rows) for size in grown]
    width = len(panels) * (_WIDTH + _GAP) + _GAP
    height = _HEIGHT + 2 * _MARGIN
    drawn = "".join(
        _panel(title, values, labels, _GAP + number * (_WIDTH + _GAP)) for number, (title, values) in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>{drawn}</svg>\n'
    )


def _panel(title: str, values: Sequence[float], labels: Sequence[str], left: int) -> str:
    """From zero, so that a flat line means what it looks like."""
    top = max(values) * 1.25 or 1.0
    step = _WIDTH / max(len(values), 1)
    places = [
        (left + step * (number + 0.5), _MARGIN + _HEIGHT * (1 - value / top)) for number, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f6feb"/>'
        f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{value:,.0f}</text>'
        f'<text x="{x:.1f}" y="{_MARGIN + _HEIGHT + 16}" text-anchor="middle" fill="#57606a">{label}</text>'
        for (x, y), value, label in zip(places, values, labels, strict=True)
    )
    floor = _MARGIN + _HEIGHT
    return (
        f'<text x="{left}" y="18" font-weight="bold">{title}</text>'
        f'<line x1="{left}" y1="{floor}" x2="{left + _WIDTH}" y2="{floor}" stroke="#8c959f"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>{marks}'
    )


def _short(rows: int) -> str:
    return f"{rows // 1_000_000} M rows" if rows >= 1_000_000 else f"{rows // 1000} k rows"
