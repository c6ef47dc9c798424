"""Faults of payments: the bank has done it, or has not, and the answer does not say which."""

import json
from typing import Final

from sandbox import problems
from sandbox.chaos.acts import PAY, Answer, Ending, Fault, Instead, Mangle, Options, Reply
from sandbox.chaos.answers import HTML, body_reply, problem_reply
from sandbox.chaos.manners import cut, json_of


def _lost(answer: Answer, options: Options) -> Reply | None:
    return Reply(None, ending=Ending.CLOSED)


def _hang(answer: Answer, options: Options) -> Reply | None:
    return Reply(None, wait_seconds=options.seconds, ending=Ending.CLOSED)


def _error(answer: Answer, options: Options) -> Reply | None:
    return body_reply(500, b'{"type":"about:blank","title":"Internal Server Error","status":500}',
                      ("Content-Type", "application/problem+json"))  # fmt: skip


def _html(answer: Answer, options: Options) -> Reply | None:
    return body_reply(200, HTML, ("Content-Type", "text/html; charset=utf-8"))


def _other_amount(answer: Answer, options: Options) -> Reply | None:
    document = json_of(answer)
    if document is None or type(amount := document.get("amount_cents")) is not int:
        return None
    body = json.dumps(document | {"amount_cents": amount - 1}, separators=(",", ":")).encode()
    return Reply(answer.status, answer.headers, (body,), len(body))


PAYMENTS: Final = (
    Fault("pay-closed-before", "W2", "Closed without an answer; nothing was paid.",
          Instead(lambda _: Reply(None, ending=Ending.CLOSED)), PAY),
    Fault("pay-503-before", "W6", "503; nothing was paid.",
          Instead(lambda _: problem_reply(problems.DatabaseUnavailable())), PAY),
    Fault("pay-429-before", "W6", "429 with `Retry-After: 1`; nothing was paid.",
          Instead(lambda _: problem_reply(problems.RateLimited(1))), PAY),
    Fault("pay-lost-after", "W2 T58", "The bank did it; closed without an answer.", Mangle(_lost), PAY),
    Fault("pay-hang-after", "W2 T58", "The bank did it; no answer for `seconds` (30), then closed.",
          Mangle(_hang), PAY),
    Fault("pay-500-after", "W4", "The bank did it; the answer is 500.", Mangle(_error), PAY),
    Fault("pay-truncated-after", "W3", "The bank did it; the answer breaks off.", Mangle(cut), PAY),
    Fault("pay-html-after", "W3", "The bank did it; the answer is 200 with an HTML page.", Mangle(_html), PAY),
    Fault("pay-echo-differs", "W9", "The bank did it; the answer names another amount.",
          Mangle(_other_amount), PAY, usual=False),
)  # fmt: skip
