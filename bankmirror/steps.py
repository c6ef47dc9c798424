"""What `up` shows while it starts: a line for each step, with a tick and how long it took.

At a terminal the steps under way are shown with a spinner; elsewhere each is a plain line when it is done.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_TITLE_CELLS = 13


class Step:
    """One line. `says` is what it shows beside its title."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.says = ""
        self.mark = ""
        self.began = time.monotonic()
        self.seconds = 0.0
        self.spinner = Spinner("dots", style="cyan")

    def line(self) -> Text:
        """The step as it ended."""
        style = "green" if self.mark == "✓" else "red"
        pad = " " * max(1, _TITLE_CELLS - cell_len(self.title))
        return Text.assemble(
            "  ",
            (self.mark, style),
            " ",
            (self.title, "bold"),
            pad,
            self.says,
            (f"  {self.seconds:.1f} s", "dim"),
        )


class Steps:
    """The steps of one start, printed in the order in which they end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._open: list[Step] = []
        self._live = Live(console=self.console, transient=True, refresh_per_second=12, get_renderable=self._render)

    def __enter__(self) -> "Steps":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[Step]:
        """Show a step while the body runs; its end, or its failure, becomes a line."""
        step = Step(title)
        self._open.append(step)
        try:
            yield step
            step.mark = "✓"
        except BaseException as error:
            # Cancelled because another step failed or somebody pressed Ctrl-C: not a failure of this one.
            step.mark = "✗" if isinstance(error, Exception) else ""
            raise
        finally:
            self._open.remove(step)
            step.seconds = time.monotonic() - step.began
            if step.mark:
                self.say(step.line())

    def say(self, line: Text) -> None:
        """Print a line, whole: it may be copied."""
        self.console.print(line, soft_wrap=True)

    def report(self, what: str) -> None:
        """Print something that happened by itself, with its time."""
        self.say(Text.assemble("  ", (f"{datetime.now():%H:%M:%S}", "dim"), f"  {what}"))  # noqa: DTZ005 (a person's clock)

    def _render(self) -> RenderableType:
        return Group(*(self._render_step(step) for step in self._open))

    def _render_step(self, step: Step) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(" "), step.spinner, Text(step.title.ljust(_TITLE_CELLS - 1), "bold"), Text(step.says, "dim"))
        return row


def show_box(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    """Labelled lines between two rules. No line is broken or framed, so that each can be copied."""
    console.print()
    console.print(Rule(Text(f" {title} ", "bold green"), style="green", align="left"))
    for label, text in rows:
        console.print(Text.assemble(" ", (label.ljust(8), "bold"), text), soft_wrap=True)
    console.print(Rule(style="green"))


def indented(text: str, cells: int) -> Padding:
    """Text moved to the right."""
    return Padding(text, (0, 0, 0, cells))
