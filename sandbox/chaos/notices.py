"""Faults of webhooks: the notice that something changed is lost, doubled, late, or somebody else's."""

from typing import Final

from sandbox.chaos.acts import WEBHOOK, Deliver, Fault

# Older than any receiver should take.
_REPLAYED_SECONDS: Final = 3_600

NOTICES: Final = (
    Fault("webhook-lost", "T56", "It is never sent.", Deliver(copies=0), WEBHOOK),
    Fault("webhook-twice", "T56", "It is sent twice, byte for byte.", Deliver(copies=2), WEBHOOK),
    Fault(
        "webhook-late", "T56", "It is sent after `seconds` (30), and later ones before it.", Deliver(late=True), WEBHOOK
    ),
    Fault("webhook-forged", "T56", "Signed with another secret.", Deliver(forged=True), WEBHOOK),
    Fault("webhook-replayed", "T56", "Signed an hour ago.", Deliver(signed_ago_seconds=_REPLAYED_SECONDS), WEBHOOK),
)
