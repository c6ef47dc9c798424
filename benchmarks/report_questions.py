"""The page's part on what an agent has to read."""

from collections.abc import Sequence

from benchmarks.bars import Bar, table
from benchmarks.load import Load
from benchmarks.questions import PAGE, TOKEN_BYTES, Read

# Times that lists must be more than tools, over all questions.
LEAST = 20


def section(read: Sequence[Read], described_bytes: int, alone: Load) -> list[str]:
    """The heading, how it was measured, the table and the bar; `alone` are calls of a tool, one after the other."""
    lines = [
        "## Asking",
        "",
        "What an agent has to read to answer ten questions: by the tools of `/mcp`, and by lists of accounts, balances",
        f"and transactions as a bank's interface has them, newest first, {PAGE} rows a page, until the period is",
        f"covered. Both ways came to the same answers. A token is taken for {TOKEN_BYTES} bytes.",
        "",
        "| question | tools, bytes | tokens | lists, bytes | tokens | times |",
        "|---|---:|---:|---:|---:|---:|",
        *(_row(one.question, one.tool_bytes, one.list_bytes) for one in read),
        _row("**all**", sum(one.tool_bytes for one in read), sum(one.list_bytes for one in read)),
        _row(
            "all, and the list of tools once",
            sum(one.tool_bytes for one in read) + described_bytes,
            sum(one.list_bytes for one in read),
        ),
        "",
        f"The list of tools is {described_bytes:,} bytes ({described_bytes / TOKEN_BYTES:,.0f} tokens), which an agent "
        "loads once per conversation, before its first question.",
        f"A call of a tool takes {alone.p50:.2f} ms at the median and {alone.p99:.2f} ms at the 99th percentile, one",
        "after the other over one connection; over several, see above.",
        "",
    ]
    times = sum(one.list_bytes for one in read) / sum(one.tool_bytes for one in read)
    return [*lines, *table([Bar("lists, times tools", f"at least {LEAST}", times, times >= LEAST)])]


def _row(question: str, tools: int, lists: int) -> str:
    tokens = (tools / TOKEN_BYTES, lists / TOKEN_BYTES)
    return f"| {question} | {tools:,} | {tokens[0]:,.0f} | {lists:,} | {tokens[1]:,.0f} | {lists / tools:.0f} |"
