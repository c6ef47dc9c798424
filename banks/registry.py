"""The banks we can speak to. A new adapter is one line here; nothing is found by looking around."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from banks import generic_rows
from banks.generic import GenericPayer, GenericReader
from banks.http import BankHttp, Gate, open_bank_http
from banks.ports import BankPayer, BankReader, FetchedTransaction, Refused
from banks.settings import BankSettings


class Adapter(NamedTuple):
    """How a bank's reader and payer are made, from its HTTP calls and its base URL."""

    reader: Callable[[BankHttp, str], BankReader]
    payer: Callable[[BankHttp], BankPayer]
    # A transaction from the bytes that were kept of a refused one.
    reread: Callable[[bytes], FetchedTransaction | Refused]


ADAPTERS = {"generic": Adapter(GenericReader, GenericPayer, generic_rows.reread)}


def reread(bank: str, raw: bytes) -> FetchedTransaction | Refused:
    """A transaction as the adapter of a bank reads it today, from the bytes that were kept when it was refused."""
    return ADAPTERS[bank].reread(raw)


@asynccontextmanager
async def open_reader(settings: BankSettings, gate: Gate | None = None) -> AsyncIterator[BankReader]:
    """The reader of the bank in the settings, asking through the gate; its connections close with the context."""
    async with open_bank_http(settings, keep_alive=True, gate=gate) as http:
        yield ADAPTERS[settings.bank].reader(http, settings.bank_api_base_url)


@asynccontextmanager
async def open_payer(settings: BankSettings) -> AsyncIterator[BankPayer]:
    """The payer of the bank in the settings; its connections close with the context."""
    async with open_bank_http(settings, keep_alive=False) as http:
        yield ADAPTERS[settings.bank].payer(http)
