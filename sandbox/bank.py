"""What a running bank consists of: its settings, its database, and whom to tell of changes."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from sandbox.chaos.dealer import Chaos
from sandbox.settings import Settings
from sandbox.store import Pool


@dataclass(frozen=True)
class Bank:
    """One running bank."""

    settings: Settings
    pool: Pool
    changed: Callable[[set[str]], None]
    chaos: Chaos


def bank_of(request: Request) -> Bank:
    """The bank that a request was sent to."""
    bank = request.app.state.bank
    assert isinstance(bank, Bank)
    return bank
