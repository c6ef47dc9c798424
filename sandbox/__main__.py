"""`python -m sandbox`: flags override the environment, the environment overrides the defaults."""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

from sandbox.app import serve
from sandbox.settings import Settings


def read_flags(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The settings given as flags, as text: pydantic reads them as it reads the environment."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A bank that lives.")
    parser.add_argument("--database-url", help="where the bank keeps its books")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (9000)")
    parser.add_argument("--accounts", help="accounts of a new bank (8)")
    parser.add_argument("--transactions", help="transactions in the history of a new bank (2000)")
    parser.add_argument("--seed", help="the source of all chance of a new bank (42)")
    parser.add_argument("--speed", help="bank seconds per real second (1)")
    parser.add_argument("--rate-limit-per-second", help="requests per second; 0 is no limit (200)")
    parser.add_argument("--no-life", dest="life", action="store_const", const="false", help="nothing happens by itself")
    parser.add_argument("--chaos", metavar="RATE", help="share of requests that meet a fault, 0 to 1 (0)")
    parser.add_argument("--chaos-seed", help="the source of all chance of chaos (1)")
    parser.add_argument("--chaos-faults", metavar="NAMES", help="only these, between commas (what clients get over)")
    parser.add_argument("--chaos-writes", action="store_const", const="true", help="payments meet faults, too")
    parser.add_argument("--chaos-events-per-minute", metavar="N", help="what happens to the books beside life (0)")
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def main() -> None:
    """Run the bank until it is told to stop."""
    settings = Settings(**read_flags())
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # asyncio.run would take the standard loop; uvicorn knows the fastest one that is installed.
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
