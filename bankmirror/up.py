"""`bankmirror up`: a database, a bank, and every process of ours, on one machine and behind one port.

What can start at the same time does: the sandbox bank writes its history while the schema is migrated.
Whatever is not given (`DATABASE_URL`, `BANK_API_BASE_URL`) is run here.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import httpx
import psutil
from rich.text import Text

from bankmirror import __version__, ports, registry, settings, store
from bankmirror.bank import look
from bankmirror.command import as_typed
from bankmirror.database import Embedded, check_server, migrate_schema
from bankmirror.home import Home, Process, State
from bankmirror.plain import counted
from bankmirror.programs import Programs
from bankmirror.settings import MIRROR_DATABASE, SANDBOX_DATABASE, UpSettings
from bankmirror.steps import Step, Steps
from bankmirror.supervisor import Supervisor
from bankmirror.welcome import Welcome, example_answer
from banks.settings import BankSettings
from kernel.errors import StartupError
from kernel.log import configure_log
from kernel.settings import is_loopback, secret
from sandbox.settings import Settings as SandboxSettings
from schema import migrate

# Seconds until a process must answer. A big sandbox bank first writes its history, for minutes.
_READY_SECONDS = 60.0
_SANDBOX_READY_SECONDS = 1800.0
# A first sync that takes longer than this goes on behind the box; answers say `partial` until it is done.
_SYNC_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_SANDBOX_PORT = 9000


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of `up`. None is "not given"."""

    port: int | None = None
    accounts: int | None = None
    transactions: int | None = None
    speed: float | None = None
    seed: int | None = None
    fresh: bool = False
    chaos: float | None = None
    workers: int | None = None

    @property
    def of_bank(self) -> dict[str, float | None]:
        """Those that are for the sandbox bank, by the names of its settings."""
        return {
            "accounts": self.accounts,
            "transactions": self.transactions,
            "speed": self.speed,
            "seed": self.seed,
            "chaos": self.chaos,
        }


def run(options: Options) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP. Raises StartupError."""
    given = settings.load(UpSettings, {"port": options.port, "workers": options.workers})
    check(given, options)
    # What a library has to say would only get between the steps; errors are told by us.
    configure_log("up", "error", "console")
    home = Home(given.home)
    with home.held() as state, Steps() as steps:
        asyncio.run(Up(given, options, home, state, steps).run())


def check(given: UpSettings, options: Options) -> None:
    """Refuse what must not start at all, and what a child would refuse only later. Raises StartupError."""
    if given.bank_api_base_url is not None and given.bank_api_key is None:
        raise StartupError("BANK_API_KEY is not set", "set it to the key that the bank gave you")
    if given.api_token is None and (given.is_live or not is_loopback(given.host)):
        raise StartupError(
            "a token is required " + ("in live mode" if given.is_live else f"to listen on {given.host}"),
            'make one: export BANKMIRROR_API_TOKEN="$(openssl rand -hex 32)"',
        )
    if options.fresh and given.database_url is not None:
        raise StartupError("--fresh only resets the embedded database", "reset the one in DATABASE_URL yourself")
    settings.load(SandboxSettings, options.of_bank)
    # What is not given is made on the way, and well-formed.
    found = {} if given.database_url else {"DATABASE_URL": "postgresql:///"}
    if given.bank_api_base_url is None:
        found |= settings.sandbox_environment(ports.address("127.0.0.1", _SANDBOX_PORT), "sandbox")
    registry.check_values(**found)


def where_data_stays(given: UpSettings, home: Home) -> str:
    """What a person who pressed Ctrl-C is told."""
    if given.database_url is None:
        return f"the data stays in {home.path}"
    ours = "the mirror stays in the database that DATABASE_URL names"
    return f"{ours}, the sandbox bank in {home.path}" if given.bank_api_base_url is None else ours


class Up:
    """One run of everything."""

    def __init__(self, given: UpSettings, options: Options, home: Home, state: State, steps: Steps) -> None:
        self.given, self.options, self.home, self.state, self.steps = given, options, home, state, steps
        self.began = time.monotonic()
        self.is_up = False
        self.programs = Programs(home, sandbox=given.bank_api_base_url is None)
        self.supervisor = Supervisor(report=self._report, started=self._started)
        self.embedded: Embedded | None = None
        self.listener: socket.socket | None = None
        self.mirror_url = ""
        self.sandbox_port = 0
        self.has_data = False

    async def run(self) -> None:
        """Start, show the box, wait to be stopped, stop. Whatever happens, nothing is left running."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        stopped = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            working.cancel()
            stopped.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)
            await self._stop()
        self._report(f"stopped; {where_data_stays(self.given, self.home)}")

    async def _work(self) -> None:
        """Start everything, then keep an eye on the logs until cancelled."""
        self.steps.say(Text.assemble(("Bankmirror", "bold"), f" {__version__}\n"))
        if strange := registry.find_strange():
            self.steps.say(Text.assemble("  ", ("!", "yellow"), f" {strange.detail}; {strange.mend}"))
        await self._start_database()
        if self.given.bank_api_base_url is None:
            # The address that it had last time, for those who wrote it down. The mirror knows its bank by the id.
            wanted = self.state.sandbox_port or int(os.environ.get("BANKMIRROR_SANDBOX_PORT") or _SANDBOX_PORT)
            self.sandbox_port = ports.find_free("127.0.0.1", wanted)
            bank_id = self.home.sandbox_id(fresh=self.options.fresh)
            self.programs.found |= settings.sandbox_environment(self.sandbox_url, bank_id)
        async with (
            httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            schema = group.create_task(self._migrate())
            bank = group.create_task(self._start_bank(client))
            listening = group.create_task(_after(self._listen, schema))
            sync = group.create_task(_after(self._start_ingest, bank, listening))
            group.create_task(_after(lambda: self._start_api(client, sync), listening))
        self.is_up = True
        await self.supervisor.bound_logs()

    async def _start_database(self) -> None:
        async with self.steps.step("PostgreSQL") as step:
            about = "from DATABASE_URL"
            ours = self.given.database_url is None
            if ours or self.given.bank_api_base_url is None:
                self.embedded = await Embedded.start(self.home)
                self.embedded.keep_alive(self._report)
                names = [MIRROR_DATABASE] if ours else []
                names += [SANDBOX_DATABASE] if self.given.bank_api_base_url is None else []
                self.has_data = await self.embedded.create_databases(*names, fresh=self.options.fresh)
                if ours:
                    about = "with the data of last time" if self.has_data else "a new database"
                    self.embedded.write_psql(MIRROR_DATABASE)
            if self.given.database_url is not None:
                self.mirror_url = secret(self.given.database_url)
            elif self.embedded is not None:
                self.mirror_url = self.embedded.url(MIRROR_DATABASE)
            self.programs.found["DATABASE_URL"] = self.mirror_url
            step.says = f"{await check_server(self.mirror_url)}, {about}"

    async def _migrate(self) -> None:
        async with self.steps.step("schema") as step:
            before = await asyncio.to_thread(migrate_schema, self.mirror_url)
            step.says = migrate.HEAD if before in (None, migrate.HEAD) else f"{before} → {migrate.HEAD}"

    async def _start_bank(self, client: httpx.AsyncClient) -> None:
        if self.given.bank_api_base_url is None:
            async with self.steps.step("sandbox bank") as step:
                await self._start_sandbox(client)
                step.says = self.sandbox_url
        else:
            async with self.steps.step("bank") as step:
                step.says = str(await look(settings.load(BankSettings, **self.programs.found)))

    async def _start_sandbox(self, client: httpx.AsyncClient) -> None:
        assert self.embedded is not None
        program = self.programs.of_bank(
            {
                "database_url": self.embedded.url(SANDBOX_DATABASE),
                "host": "127.0.0.1",
                "port": self.sandbox_port,
                **self.options.of_bank,
            }
        )
        child = self.supervisor.start(program)
        await child.wait_until(lambda: _answers(client, f"{self.sandbox_url}/health"), _SANDBOX_READY_SECONDS)
        self._note(sandbox_url=self.sandbox_url, sandbox_port=self.sandbox_port)

    @property
    def sandbox_url(self) -> str:
        return ports.address("127.0.0.1", self.sandbox_port)

    async def _start_ingest(self) -> None:
        async with self.steps.step("sync" if self.has_data else "first sync") as step:
            child = self.supervisor.start(self.programs.of_ingest())
            deadline = time.monotonic() + _SYNC_SECONDS
            await child.wait_until(lambda: self._is_synced(step, deadline), _SYNC_SECONDS + _READY_SECONDS)

    async def _is_synced(self, step: Step, deadline: float) -> bool:
        progress = await store.ask(self.mirror_url, "sync_progress")
        late = time.monotonic() > deadline
        if progress["done"]:
            mirror = await store.ask(self.mirror_url, "mirror_count")
            step.says = f"{counted(mirror['accounts'], 'account')}, {counted(mirror['transactions'], 'transaction')}"
        else:
            step.says = (
                f"{counted(progress['accounts'], 'account')}, {counted(progress['rows_changed'], 'transaction')}"
            )
            step.says += f" ({progress['last_error']})" if progress["last_error"] else ""
            step.says += as_typed(", going on behind; see `bankmirror status`") if late else ""
        return bool(progress["done"]) or late

    async def _listen(self) -> None:
        # The socket is ours and outlives the front: who connects while it is started again just waits.
        self.listener = ports.listen(self.given.host, self.given.port)
        url = ports.address(self.given.host, self.listener.getsockname()[1])
        self.programs.take_webhooks(ports.find_free("127.0.0.1", 0), url)

    async def _start_api(self, client: httpx.AsyncClient, synced: Awaitable[None]) -> None:
        assert self.listener is not None
        port: int = self.listener.getsockname()[1]
        url = ports.address(self.given.host, port)
        transfers_port = ports.find_free("127.0.0.1", 0)
        transfers_url = ports.address("127.0.0.1", transfers_port)
        transfers = self.supervisor.start(self.programs.of_transfers(transfers_port))
        # Whoever is quickest accepts, so one answer says that at least one of them serves.
        front, *others = (
            self.supervisor.start(self.programs.of_front(self.listener, transfers_url, number))
            for number in range(1, self.given.workers + 1)
        )
        async with self.steps.step("transfers") as step:
            await transfers.wait_until(lambda: _answers(client, f"{transfers_url}/health"), _READY_SECONDS)
            step.says = "a process and a role of its own"
        async with self.steps.step("API") as step:
            await front.wait_until(lambda: _answers(client, f"{url}/health"), _READY_SECONDS)
            step.says = url + (f", since {self.given.port} is taken" if port != self.given.port else "")
            step.says += f", {len(others) + 1} processes" if others else ""
        await synced
        answer = await example_answer(client, url, self.given.api_token, await self._example_account())
        self._note(url=url)
        seconds = time.monotonic() - self.began
        chaos = 0.0
        if self.given.bank_api_base_url is None:
            chaos = settings.load(SandboxSettings, self.options.of_bank).chaos
        Welcome(self.given, self.home, url, answer, seconds, chaos).show(self.steps.console)

    async def _example_account(self) -> str | None:
        async with await store.connect(self.mirror_url) as connection:
            found = await store.fetch_all(connection, "account_example")
        return found[0]["account_id"] if found else None

    def _report(self, what: str) -> None:
        """Tell what happened by itself. While we start, what is wrong ends the start and is told then."""
        if self.is_up:
            self.steps.report(what)

    def _started(self, name: str, pid: int) -> None:
        with suppress(psutil.NoSuchProcess):  # It died at once, and is started again.
            self._note(children={**self.state.children, name: Process.of(pid)})

    def _note(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # the fields of State, by name
        self.home.write_state(self.state)

    async def _stop(self) -> None:
        if self.listener is not None:
            self.listener.close()
        await self.supervisor.stop()
        if self.embedded is not None:
            await self.embedded.stop()


async def _after(work: Callable[[], Awaitable[None]], *earlier: Awaitable[None]) -> None:
    for one in earlier:
        await one
    await work()


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.TransportError:
        return False
