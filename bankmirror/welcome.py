"""The last thing that `up` prints: where everything is, and a request with the answer that it really got."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from bankmirror.command import as_typed, own_name, short
from bankmirror.home import Home
from bankmirror.settings import UpSettings
from kernel.errors import StartupError
from kernel.settings import secret

_LABEL_CELLS = 9


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was made, as a command to type, and what came back."""

    command: str
    body: Any


async def example_answer(
    client: httpx.AsyncClient, url: str, token: SecretStr | None, account_id: str | None
) -> Answer:
    """Ask the API what a newcomer would ask first. Raises StartupError unless it answers well."""
    target = f"{url}/banking/accounts"
    if account_id is not None:
        target += f"/{account_id}/activity?limit=1"
    headers = {"Authorization": f"Bearer {secret(token)}"} if token else {}
    response = await client.get(target, headers=headers)
    if not response.is_success:
        raise StartupError(f"GET {target} answered {response.status_code}", "run `bankmirror doctor`")
    shown = ' -H "Authorization: Bearer $BANKMIRROR_API_TOKEN"' if token else ""
    return Answer(f"curl{shown} {shlex.quote(target)}", response.json())


@dataclass(frozen=True, slots=True)
class Welcome:
    """The box. No line in it is broken or framed, so that each can be copied."""

    given: UpSettings
    home: Home
    url: str
    answer: Answer
    seconds: float
    # Share of requests that the sandbox answers with a fault.
    chaos: float = 0.0

    def show(self, console: Console) -> None:
        console.print()
        title = Text.assemble(("Bankmirror is up", "bold green"), (f" · {self.seconds:.1f} s", "dim"))
        console.print(Rule(title, style="green", align="left"))
        self._row(console, "API", self.url)
        self._row(console, "docs", f"{self.url}/docs  {self.url}/docs/transfers/")
        console.print()
        console.print(Text.assemble(" ", ("$ ", "green"), (self.answer.command, "bold")), soft_wrap=True)
        for line in json.dumps(self.answer.body, indent=2, ensure_ascii=False).splitlines():
            console.print(Text(f"   {line}", "cyan"), soft_wrap=True)
        console.print()
        for label, text in self._about():
            self._row(console, label, text)
        console.print(Rule(style="green"))

    def _about(self) -> list[tuple[str, str]]:
        home = short(self.home.path)
        bank = self.given.bank_api_base_url
        if self.given.database_url is None:
            psql, data = f"{shlex.quote(f'{home}/psql')} -c '\\dv+ read.*'", f"{home}/postgres"
            stop = as_typed("Ctrl-C keeps the data; `bankmirror up --fresh` begins anew")
        else:
            psql, data, stop = 'psql "$DATABASE_URL"', "in the database that DATABASE_URL names", "Ctrl-C"
        return [
            ("psql", psql),
            ("data", data),
            ("logs", f"{home}/logs"),
            ("bank", bank or "the sandbox; for yours set BANK_API_BASE_URL, BANK_API_KEY, BANKMIRROR_API_TOKEN"),
            *([("chaos", f"the sandbox answers {self.chaos:.4g} of all requests with a fault")] if self.chaos else []),
            ("agents", f"{own_name()} mcp config"),
            ("stop", stop),
            ("more", f"{own_name()} status, {own_name()} doctor"),
        ]

    def _row(self, console: Console, label: str, text: str) -> None:
        console.print(Text.assemble(" ", (label.ljust(_LABEL_CELLS), "bold"), text), soft_wrap=True)
