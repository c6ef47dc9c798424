"""All faults by name."""

from collections.abc import Mapping
from typing import Final

from sandbox.chaos.acts import PAY, Fault
from sandbox.chaos.answers import ANSWERS
from sandbox.chaos.manners import MANNERS
from sandbox.chaos.notices import NOTICES
from sandbox.chaos.pages import PAGES
from sandbox.chaos.payments import PAYMENTS
from sandbox.chaos.poison import POISONS

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault for fault in (*ANSWERS, *MANNERS, *PAGES, *POISONS, *PAYMENTS, *NOTICES)
}
# What chance does when nobody says which: everything that a client can get over by itself within a minute.
USUAL: Final = frozenset(fault.name for fault in FAULTS.values() if fault.usual)
WRITES: Final = frozenset(fault.name for fault in FAULTS.values() if fault.routes == PAY)


def read_names(text: str) -> frozenset[str]:
    """Names between commas; none at all are the usual ones. Raises ValueError for a name that is none."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(names - FAULTS.keys()):
        raise ValueError(f"no fault is called {unknown[0]}")
    return names or USUAL
