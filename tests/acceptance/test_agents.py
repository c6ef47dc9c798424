"""docs/how-to/connect-an-agent.md works as it stands, on a running `up`."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from bankmirror.mcp import Client
from tests.acceptance.system import ROOT, System, run

PAGE = (ROOT / "docs" / "how-to" / "connect-an-agent.md").read_text()
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
OURS = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("bankmirror mcp ")]


def test_the_pages_question_is_answered(shared_system: System) -> None:
    """With the members that the page shows, the arithmetic right, and dated within the minute."""
    [call] = [arguments for arguments in OURS if arguments[1] == "call"]
    [shown] = [json.loads(example) for example in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]

    done = run(Path(shared_system.home), *call)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)

    assert set(answer) == set(shown)
    assert answer["answer"] in ("yes", "no")
    assert answer["after_minor"] == answer["spendable_minor"] - 12_000_00
    age = datetime.now(UTC) - datetime.fromisoformat(answer["evidence"]["balance_synced_at"])
    assert age.total_seconds() < 60
    assert len(json.dumps(answer, separators=(",", ":"))) < 1_000


def test_the_pages_first_line_is_what_config_prints(shared_system: System) -> None:
    """With the address of the `up` of this home, found without being told."""
    done = run(Path(shared_system.home), "mcp", "config")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().replace(shared_system.url, "http://127.0.0.1:8000") == COMMANDS[0]


def test_every_config_of_the_page_is_one() -> None:
    """The clients that it names are those that there are."""
    clients = {arguments[3] for arguments in OURS if arguments[1:3] == ["config", "--client"]}

    assert clients == set(get_args(Client))
