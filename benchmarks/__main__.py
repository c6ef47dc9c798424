"""How fast a bank is mirrored, beside others and beside the floor, and what grows with the mirror.

`make bench` runs this and writes benchmarks/RESULTS.md and benchmarks/growth.svg. A quarter of an hour; with
BANKMIRROR_BENCH_GROWTH=10000000 half an hour. BANKMIRROR_BENCH_ROWS changes the size of the comparison.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bankmirror.postgres import EmbeddedPostgres
from benchmarks import report
from benchmarks.bank import CHANGES
from benchmarks.growth import SIZES, grow
from benchmarks.processes import bank
from benchmarks.side import compare, prepare_dlt

HERE = Path(__file__).parent
ROWS = int(os.environ.get("BANKMIRROR_BENCH_ROWS", "200000"))
LARGEST = int(os.environ.get("BANKMIRROR_BENCH_GROWTH", str(max(SIZES))))


def main() -> None:
    """Measure, say so while it goes on, and write the results."""
    if not prepare_dlt():
        sys.exit("dlt is not installed for the comparison; `make bench` does that")
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", flush=True)

    sizes = sorted({size for size in SIZES if size <= LARGEST} | {LARGEST})
    with tempfile.TemporaryDirectory(prefix="bankmirror-bench-") as home:
        # PostgreSQL may run under an account of its own, which must be able to enter.
        Path(home).chmod(0o755)
        with EmbeddedPostgres.start(Path(home)) as server:
            with bank(ROWS) as bank_url:
                side = compare(server, bank_url, ROWS, say)
            grown = grow(server, sizes, CHANGES, say)
    (HERE / "RESULTS.md").write_text(report.page(side, grown), encoding="utf-8")
    (HERE / "growth.svg").write_text(report.plot(grown), encoding="utf-8")
    print((HERE / "RESULTS.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
