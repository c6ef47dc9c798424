"""A bank in this process that does exactly what a test tells it, and remembers everything.

It executes at most once for a key that it remembers, as the generic contract promises, and forgets keys as
real banks do: a key that comes back later is a new payment. What it holds is the truth that transfers are
checked against.
"""

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import psycopg

from banks.ports import Capabilities, Outcome, Payment, Verdict


class Reaction(StrEnum):
    """What the bank does with a POST, and what we get to see of it."""

    PAY = "pay"
    NOT_SENT = "not_sent"  # connection refused
    LOST_BEFORE = "lost_before"  # the connection breaks, nothing was executed
    LOST_AFTER = "lost_after"  # executed, then the connection breaks
    LATE = "late"  # the connection breaks; executed when `execute_late` is called
    TRUNCATED = "truncated"  # executed, 201 with half a body
    ERROR_BEFORE = "error_before"  # 500 and nothing executed
    ERROR_AFTER = "error_after"  # executed, then 500
    ERROR_FOR_EVER = "error_for_ever"  # 500, stored under the key: it comes back whatever we do
    IN_FLIGHT = "in_flight"  # 409
    THROTTLED = "throttled"  # 429 with Retry-After
    DECLINE = "decline"
    KEY_REUSED = "key_reused"
    OTHER_AMOUNT = "other_amount"  # executed, but the echo differs
    CREDENTIALS = "credentials"
    NO_ID = "no_id"  # a success that does not say which
    RAISE = "raise"  # the adapter breaks its promise


class Sight(StrEnum):
    """What a look-up shows."""

    TRUTH = "truth"
    FAIL = "fail"
    BLIND = "blind"  # says absent, whatever it has
    TWICE = "twice"
    CREDENTIALS = "credentials"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class Post:
    """A POST as the bank received it, with the attempts that the database had committed at that moment."""

    bank_key: str
    body: bytes
    attempts_committed: int


@dataclass
class ModelBank:
    """A scripted `BankPayer`."""

    database_url: str
    retention: timedelta = timedelta(hours=24)
    can_look_up: bool = True
    reactions: list[Reaction] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    name: str = "model"
    posts: list[Post] = field(default_factory=list)
    look_ups: list[str] = field(default_factory=list)
    executed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    # Set to hold every POST at the door; `arrived` says that one is there.
    door: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.capabilities = Capabilities(
            delta_feed=True,
            bulk_balances=True,
            lookup_by_reference=self.can_look_up,
            webhooks=False,
            idempotency_retention=self.retention,
        )
        self.door.set()
        self._remembered: dict[str, Outcome] = {}
        self._late: list[str] = []
        self._refusing = False

    def encode(self, payment: Payment) -> bytes:
        return json.dumps([payment.source_account_id, payment.amount_minor, payment.bank_key]).encode()

    async def pay(self, payment: Payment, request_bytes: bytes) -> Outcome:
        reaction = self.reactions.pop(0) if self.reactions else Reaction.PAY
        if reaction is Reaction.NOT_SENT:
            return Outcome(Verdict.NOT_SENT, code="no-answer")
        key = payment.bank_key
        self.posts.append(Post(key, request_bytes, await self._attempts_committed(key)))
        self.arrived.set()
        await self.door.wait()
        if reaction is Reaction.CREDENTIALS:
            return Outcome(Verdict.REFUSED_CREDENTIALS, http_status=401)
        if (stored := self._remembered.get(key)) is not None:
            return stored
        return self._react(reaction, key)

    def _react(self, reaction: Reaction, key: str) -> Outcome:
        match reaction:
            case Reaction.PAY:
                return self._execute(key)
            case Reaction.LOST_BEFORE | Reaction.ERROR_BEFORE | Reaction.IN_FLIGHT:
                return Outcome(Verdict.UNKNOWN, code=reaction)
            case Reaction.THROTTLED:
                return Outcome(Verdict.UNKNOWN, http_status=429, retry_after=timedelta(seconds=7))
            case Reaction.LOST_AFTER | Reaction.TRUNCATED | Reaction.ERROR_AFTER:
                self._execute(key)
                return Outcome(Verdict.UNKNOWN, code=reaction)
            case Reaction.LATE:
                self._late.append(key)
                return Outcome(Verdict.UNKNOWN, code=reaction)
            case Reaction.ERROR_FOR_EVER:
                return self._remember(key, Outcome(Verdict.UNKNOWN, http_status=500))
            case Reaction.DECLINE:
                return self._remember(key, Outcome(Verdict.REJECTED, http_status=422, code="insufficient-funds"))
            case Reaction.KEY_REUSED:
                return Outcome(Verdict.CONFLICT, http_status=422, code="idempotency-key-reused")
            case Reaction.OTHER_AMOUNT:
                found = self._execute(key).bank_transaction_id
                return Outcome(Verdict.CONFLICT, found, 201, "echo-differs")
            case Reaction.NO_ID:
                self._execute(key)
                return Outcome(Verdict.ACCEPTED)
            case _:
                raise RuntimeError("an adapter is not supposed to raise")

    async def look_up(self, payment: Payment) -> Outcome:
        key = payment.bank_key
        self.look_ups.append(key)
        match self.sights.pop(0) if self.sights else Sight.TRUTH:
            case Sight.TRUTH if not self.can_look_up:
                return Outcome(Verdict.UNKNOWN, code="no-look-up")
            case Sight.TRUTH if len(self.executed[key]) == 1:
                return Outcome(Verdict.ACCEPTED, self.executed[key][0], 200)
            case Sight.TRUTH if len(self.executed[key]) > 1:
                return Outcome(Verdict.CONFLICT, code="found-twice")
            case Sight.TRUTH | Sight.BLIND:
                return Outcome(Verdict.ABSENT, http_status=200)
            case Sight.FAIL:
                return Outcome(Verdict.UNKNOWN, code="no-answer")
            case Sight.TWICE:
                return Outcome(Verdict.CONFLICT, code="found-twice")
            case Sight.CREDENTIALS:
                return Outcome(Verdict.REFUSED_CREDENTIALS, http_status=401)
            case _:
                raise RuntimeError("an adapter is not supposed to raise")

    def execute_late(self) -> None:
        """Execute what was accepted and then left lying; a key that was answered meanwhile is not executed
        again.
        """
        for key in self._late:
            if key not in self._remembered:
                self._execute(key)
        self._late.clear()

    def forget_keys(self) -> None:
        """The retention has passed: the same key is a new payment now."""
        self._remembered.clear()

    def paid_more_than_once(self) -> list[str]:
        """The keys for which money moved twice."""
        return [key for key, ids in self.executed.items() if len(ids) > 1]

    def posts_of(self, bank_key: str) -> list[Post]:
        return [post for post in self.posts if post.bank_key == bank_key]

    def check_posts(self) -> None:
        """I-5: each POST has its attempt committed before it, and all POSTs of a transfer have the same
        bytes.
        """
        seen: Counter[str] = Counter()
        bodies: dict[str, bytes] = {}
        for post in self.posts:
            seen[post.bank_key] += 1
            assert post.attempts_committed >= seen[post.bank_key], "a POST before the commit of its attempt"
            assert bodies.setdefault(post.bank_key, post.body) == post.body, "a POST with other bytes"

    def _execute(self, key: str) -> Outcome:
        transaction_id = f"txn_{sum(map(len, self.executed.values())) + 1}"
        self.executed[key].append(transaction_id)
        return self._remember(key, Outcome(Verdict.ACCEPTED, transaction_id, 201))

    def _remember(self, key: str, outcome: Outcome) -> Outcome:
        self._remembered[key] = outcome
        return outcome

    async def _attempts_committed(self, bank_key: str) -> int:
        """Asked on a connection of the bank's own: it sees what is committed and nothing else."""
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM transfer.attempts JOIN transfer.transfers USING (transfer_id)"
                " WHERE bank_key = %s AND kind = 'post'",
                [bank_key],
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])
