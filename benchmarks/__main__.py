"""How fast a bank is mirrored and how much a read costs, beside others and beside the floor, and what grows.

`make bench` runs this and writes benchmarks/RESULTS.md and growth.svg, from results.json, which it writes first. Twenty
minutes; with BANKMIRROR_BENCH_GROWTH=10000000 half an hour. BANKMIRROR_BENCH_ROWS changes the size of the comparison.

BANKMIRROR_BENCH_ONLY=reads (six minutes) or =mirroring measures that part and keeps what was measured of the other.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bankmirror.postgres import EmbeddedPostgres
from benchmarks import load, report, results
from benchmarks.bank import CHANGES
from benchmarks.growth import SIZES, grow
from benchmarks.processes import bank
from benchmarks.reads import Size, read
from benchmarks.side import compare, prepare_dlt

HERE = Path(__file__).parent
ROWS = int(os.environ.get("BANKMIRROR_BENCH_ROWS", "200000"))
LARGEST = int(os.environ.get("BANKMIRROR_BENCH_GROWTH", str(max(SIZES))))
PARTS = ("reads", "mirroring")


def main() -> None:
    """Measure, say so while it goes on, and write the results."""
    parts = [os.environ["BANKMIRROR_BENCH_ONLY"]] if os.environ.get("BANKMIRROR_BENCH_ONLY") else PARTS
    if not set(parts) <= set(PARTS):
        sys.exit(f"BANKMIRROR_BENCH_ONLY is one of {', '.join(PARTS)}")
    if "mirroring" in parts and not prepare_dlt():
        sys.exit("dlt is not installed for the comparison; `make bench` does that")
    if "reads" in parts and not load.is_installed():
        sys.exit(load.MISSING)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", flush=True)

    found = results.load(HERE / "results.json")
    with tempfile.TemporaryDirectory(prefix="bankmirror-bench-") as home:
        # PostgreSQL may run under an account of its own, which must be able to enter.
        Path(home).chmod(0o755)
        with EmbeddedPostgres.start(Path(home)) as server:
            if "reads" in parts:
                found = found._replace(reads=read(server, Size(), say))
                _write(found)
            if "mirroring" in parts:
                with bank(ROWS) as bank_url:
                    side = compare(server, bank_url, ROWS, say)
                sizes = sorted({size for size in SIZES if size <= LARGEST} | {LARGEST})
                found = found._replace(side=side, grown=tuple(grow(server, sizes, CHANGES, say)))
                _write(found)
    print((HERE / "RESULTS.md").read_text(encoding="utf-8"))


def _write(found: results.Results) -> None:
    results.save(found, HERE / "results.json")
    page = HERE / "RESULTS.md"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(report.page(found, before), encoding="utf-8")
    if found.grown:
        (HERE / "growth.svg").write_text(report.plot(found.grown), encoding="utf-8")


if __name__ == "__main__":
    main()
