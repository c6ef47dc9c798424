"""What clients are told about a transfer in each state."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from transfers.answers import describe
from transfers.states import State
from transfers.store import Transfer

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("state", list(State))
def test_the_outcome_is_uncertain_only_while_money_may_be_on_its_way(state: State) -> None:
    """The rule of read.transfers: what was not sent yet is processing, and certainly has not moved."""
    transfer = Transfer(
        transfer_id=UUID(int=1),
        account_id="acct_1",
        destination_account_id="acct_2",
        amount_minor=2500,
        currency="USD",
        reference=None,
        memo=None,
        state=state,
        bank_transaction_id=None,
        outcome_code=None,
        attempts=0,
        created_at=NOW,
        updated_at=NOW,
        logged=True,
    )

    certain = describe(transfer).outcome_certain
    assert certain is (state not in (State.SUBMITTING, State.UNKNOWN, State.MANUAL_REVIEW))
