"""What there is to spend, and whether an amount can be paid from it."""

import json

from kernel.money import Money
from readapi.payable import Facts, judge
from readapi.reader import Parameters, Reader
from readapi.store import QUERIES, Answer, ask


async def list_cash_position(
    reader: Reader, *, currency: str | None, status: str, after: list[str] | None, limit: int
) -> Answer:
    """Sums by currency over all accounts, and a page of the accounts."""
    after_id, after_currency = after or ("", "")
    return await ask(
        reader,
        QUERIES["cash_position_list"],
        {
            "currency": currency,
            "status": status,
            "after_id": after_id,
            "after_currency": after_currency,
            "limit": str(limit),
        },
    )


async def get_can_pay(reader: Reader, account_id: str, *, money: Money) -> Answer:
    """Whether an amount can be paid from an account, as far as is known."""
    parameters: Parameters = {"account_id": account_id, "currency": money.currency}
    answer = await ask(reader, QUERIES["spendable_get"], parameters)
    if not answer.found:
        return answer
    facts = Facts.read(json.loads(answer.data), json.loads(answer.freshness))
    judged = {"account_id": account_id, **judge(money, facts)}
    return answer._replace(data=json.dumps(judged, ensure_ascii=False, separators=(",", ":")))
