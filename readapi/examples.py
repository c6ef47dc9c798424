"""One whole answer of each main route, for the documentation; a test holds them against their models."""

from typing import Any

_SYNCED = "2026-01-15T09:30:00.204117+00:00"
_FRESHNESS = {
    "verdict": "fresh",
    "synced_at": _SYNCED,
    "as_of": "2026-01-15T09:29:58+00:00",
    "fresh_until": "2026-01-15T09:31:00.204117+00:00",
    "reason": None,
    "remedy": None,
}
_COFFEE = {"description": "COFFEE SHOP BERLIN", "counterparty_name": "Coffee Shop Ltd", "warnings": []}

ACTIVITY: list[dict[str, Any]] = [
    {
        "id": "01993b6e-2f5c-7c1e-9d2a-6f0c5f1f9a11",
        "kind": "transfer",
        "action": "transfer",
        "amount_cents": -2500,
        "amount_minor": -2500,
        "amount": "-25.00",
        "currency": "USD",
        "status": "processing",
        "outcome_certain": False,
        "created_at": "2026-01-15T09:29:59.8+00:00",
        "booked_on": None,
        "untrusted": {"description": None, "counterparty_name": None, "warnings": []},
    },
    {
        "id": "tx_1",
        "kind": "transaction",
        "action": "card",
        "amount_cents": -1250,
        "amount_minor": -1250,
        "amount": "-12.50",
        "currency": "USD",
        "status": "posted",
        "outcome_certain": True,
        "created_at": "2026-01-14T17:02:11+00:00",
        "booked_on": "2026-01-14",
        "untrusted": _COFFEE,
    },
]
TRANSACTIONS: dict[str, Any] = {
    "data": [
        {
            "transaction_id": "tx_1",
            "account_id": "acct_123",
            "amount_minor": -1250,
            "amount": "-12.50",
            "currency": "USD",
            "status": "posted",
            "type": "card",
            "created_at": "2026-01-14T17:02:11+00:00",
            "booked_on": "2026-01-14",
            "counterparty_account_id": None,
            "pending_transaction_id": "tx_0",
            "untrusted": _COFFEE,
        }
    ],
    "freshness": _FRESHNESS,
    "next_cursor": None,
}
BALANCES: dict[str, Any] = {
    "data": [
        {
            "account_id": "acct_123",
            "currency": "USD",
            "current_minor": 1204250,
            "current": "12042.50",
            "available_minor": 1201750,
            "available": "12017.50",
            "as_of": "2026-01-15T09:29:58+00:00",
            "synced_at": _SYNCED,
        }
    ],
    "freshness": _FRESHNESS,
    "next_cursor": None,
}
CASH_FLOW: dict[str, Any] = {
    "data": {
        "view": {"name": "daily_cash_flow", "refreshed_at": _SYNCED, "changes_waiting_since": None},
        "periods": [
            {
                "account_id": "acct_123",
                "currency": "USD",
                "period_start": "2026-01-14",
                "in_minor": 500000,
                "in": "5000.00",
                "out_minor": -1250,
                "out": "-12.50",
                "net_minor": 498750,
                "net": "4987.50",
                "entries": 2,
            }
        ],
    },
    "freshness": _FRESHNESS,
    "next_cursor": None,
}


def answered(example: Any) -> dict[str, Any]:
    """The part of a response's description that shows an answer."""
    return {"content": {"application/json": {"example": example}}}
