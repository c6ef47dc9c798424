"""The door lets in who shows a good token, remembers it for seconds, and tells nobody why it did not."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kernel import tokens
from kernel.access import _PASSES_SECONDS, _SUSPECTS_MAX, Door
from kernel.caller import ANONYMOUS
from kernel.errors import DatabaseUnavailable, HostRefused, Problem, TooManyRequests, Unauthenticated
from kernel.failures import FAILURES_MAX, WINDOW_SECONDS
from kernel.passes import TRUST_SECONDS, StoredToken
from kernel.settings import HttpSettings

STATIC = "s" * 40


class Clock:
    """A steady clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Tokens:
    """What `access.token` answers, and how often it was asked."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredToken] = {}
        self.asked: list[Sequence[str]] = []
        self.away = False

    async def select(self, token_ids: Sequence[str]) -> list[StoredToken]:
        self.asked.append(token_ids)
        await asyncio.sleep(0)
        if self.away:
            raise DatabaseUnavailable
        return [self.stored[token_id] for token_id in token_ids if token_id in self.stored]

    def give(self, **changed: Any) -> str:
        """A new token; returns its text."""
        made = tokens.make("test")
        row: dict[str, Any] = {
            "token_id": made.token_id, "principal": made.token_id, "name": "agent", "environment": "test",
            "digest": tokens.digest(made.text), "scopes": ["read"], "accounts": None, "requests_per_minute": 600,
            "bytes_per_day": 1_000_000, "revoked": False, "expires_in": None,
        }  # fmt: skip
        self.stored[made.token_id] = StoredToken(**{**row, **changed})
        return made.text

    def change(self, text: str, **changed: Any) -> None:
        """Change what is stored of a token."""
        token_id = text[9:17]
        self.stored[token_id] = self.stored[token_id]._replace(**changed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("kernel.access.time", clock)
    monkeypatch.setattr("kernel.passes.time", clock)
    return clock


@pytest.fixture
def store() -> Tokens:
    return Tokens()


@pytest.fixture
def door(store: Tokens, clock: Clock) -> Door:
    return make_door(store, mode="sandbox", api_token=STATIC)


def make_door(store: Tokens, **given: Any) -> Door:
    return Door(store.select, HttpSettings(_env_file=None, **{"DATABASE_URL": "postgresql://x", **given}))


def sent(*headers: str, client: str = "192.0.2.1") -> dict[str, Any]:
    """The scope of a request with these Authorization headers."""
    return {"headers": [(b"authorization", header.encode()) for header in headers], "client": (client, 1)}


def here() -> dict[str, Any]:
    """The scope of a request without a token that means this machine."""
    return {"headers": [(b"host", b"127.0.0.1:8000")], "client": ("127.0.0.1", 1)}


def bearer(text: str, client: str = "192.0.2.1") -> dict[str, Any]:
    return sent(f"Bearer {text}", client=client)


@pytest.mark.parametrize(
    ("header", "is_known"),
    [
        (f"Bearer {STATIC}", True),
        (f"bearer {STATIC}", True),
        (f"Bearer {STATIC[1:]}", False),
        (f"Bearer {STATIC} ", False),
        (f"Basic {STATIC}", False),
        (STATIC, False),
        ("Bearer ", False),
        ("Bearer é", False),
        ("", False),
    ],
)
async def test_s1_the_operators_token(door: Door, header: str, is_known: bool) -> None:
    """It opens the door, may move money, and reads no memos. The database is not asked."""
    if not is_known:
        with pytest.raises(Unauthenticated):
            await door.identify(sent(header))
        return
    found = await door.identify(sent(header))

    assert door.known(header.encode()) is found
    assert found.caller.may("transfer:request")
    assert found.caller.may("read")
    assert not found.caller.may("read:memo")
    assert found.spend(0.0)
    assert found.limit_headers() == []


async def test_without_a_token(store: Tokens) -> None:
    """On the sandbox without the operator's token, all is open to who sends none; a token that is sent must be good."""
    opened = make_door(store, mode="sandbox")
    found = await opened.identify(here())

    assert opened.known(None) is found
    assert found.caller.may("read:memo")
    for scope in (sent("Bearer x"), sent("Bearer x", "Bearer y"), bearer(tokens.make("test").text)):
        with pytest.raises(Unauthenticated):
            await opened.identify(scope)
    for closed in (make_door(store, mode="live"), make_door(store, mode="sandbox", api_token=STATIC)):
        assert closed.known(None) is None
        with pytest.raises(Unauthenticated):
            await closed.identify(sent())


@pytest.mark.parametrize(
    ("host", "origin", "is_let_in"),
    [
        ("127.0.0.1:8000", None, True),
        ("LOCALHOST", "http://localhost:8000", True),
        ("[::1]:8000", "https://[::1]", True),
        (None, None, False),
        ("", None, False),
        ("bank.example:8000", None, False),
        ("127.0.0.1.bank.example", None, False),
        ("127.0.0.1@bank.example", None, False),
        ("[nonsense", None, False),
        ("127.0.0.1:8000", "https://bank.example", False),
        ("127.0.0.1:8000", "null", False),
    ],
)
async def test_without_a_token_only_this_machine(
    store: Tokens, host: str | None, origin: str | None, *, is_let_in: bool
) -> None:
    """A page that has its own name lead here sends that name; who has a token may use any."""
    opened = make_door(store, mode="sandbox")
    named = [(b"host", host), (b"origin", origin)]
    headers = [(name, value.encode()) for name, value in named if value is not None]
    if is_let_in:
        assert (await opened.identify({"headers": headers})).caller is ANONYMOUS
    else:
        with pytest.raises(HostRefused):
            await opened.identify({"headers": headers})
    await opened.identify({"headers": [*headers, (b"authorization", f"Bearer {store.give()}".encode())]})


async def test_a_good_token(door: Door, store: Tokens) -> None:
    """It is looked up once, and known afterwards as who it belongs to."""
    text = store.give(scopes=["read", "read:memo"], accounts=["b", "a", "b"])

    found = await door.identify(bearer(text))

    assert (found.caller.token_id, found.caller.name, found.caller.accounts) == (text[9:17], "agent", ("a", "b"))
    assert found.caller.scopes == {"read", "read:memo"}
    assert await door.identify(bearer(text)) is found
    assert door.known(f"Bearer {text}".encode()) is found
    assert len(store.asked) == 1


async def test_every_refusal_is_the_same(door: Door, store: Tokens) -> None:
    """Unknown, wrong, expired, revoked, of another environment, garbled: nobody can tell which it was."""
    good = store.give()
    expired, revoked, other = store.give(expires_in=-0.1), store.give(revoked=True), store.give(environment="live")
    wrong = tokens.make("test").text
    store.stored[wrong[9:17]] = store.stored[good[9:17]]._replace(token_id=wrong[9:17])
    told = set()
    for text in (
        tokens.make("test").text,
        tokens.make("live").text,
        wrong,
        expired,
        revoked,
        other,
        good[:-1],
        "x",
        "",
    ):
        with pytest.raises(Unauthenticated) as refused:
            await door.identify(bearer(text, client=f"192.0.2.{len(text) % 200}"))
        told.add((type(refused.value), refused.value.detail, str(refused.value.headers), str(refused.value.members)))

    assert len(told) == 1


async def test_a_revoked_token_is_refused_when_its_trust_ends(door: Door, store: Tokens, clock: Clock) -> None:
    """Also when nobody told us; and at once when somebody did."""
    text, other = store.give(), store.give()
    await door.identify(bearer(text))
    await door.identify(bearer(other))
    store.change(text, revoked=True)
    store.change(other, revoked=True)
    door.forget(other[9:17])

    assert door.known(f"Bearer {other}".encode()) is None
    assert door.known(f"Bearer {text}".encode()) is not None
    clock.now += TRUST_SECONDS
    assert door.known(f"Bearer {text}".encode()) is None
    for revoked in (text, other):
        with pytest.raises(Unauthenticated):
            await door.identify(bearer(revoked))


async def test_all_are_forgotten_when_nobody_knows_what_was_missed(door: Door, store: Tokens) -> None:
    """None: any of them may have changed."""
    text = store.give()
    found = await door.identify(bearer(text))

    door.forget(None)

    assert not found.is_good()
    assert door.known(f"Bearer {text}".encode()) is None
    assert door.known(f"Bearer {STATIC}".encode()) is None
    await door.identify(bearer(text))
    assert len(store.asked) == 2


async def test_a_token_expires_at_its_time(door: Door, store: Tokens, clock: Clock) -> None:
    """Not some seconds later, when it would be looked up again."""
    text = store.give(expires_in=1.5)
    await door.identify(bearer(text))

    clock.now += 1.4
    assert door.known(f"Bearer {text}".encode()) is not None
    clock.now += 0.1
    assert door.known(f"Bearer {text}".encode()) is None


async def test_the_database_away(door: Door, store: Tokens, clock: Clock) -> None:
    """What is known is gone by for seconds; then it is a 503, and never open."""
    text = store.give()
    await door.identify(bearer(text))
    store.away = True
    clock.now += TRUST_SECONDS - 0.1
    with pytest.raises(DatabaseUnavailable):
        await door.renew()

    await door.identify(bearer(text))
    clock.now += 0.1
    with pytest.raises(DatabaseUnavailable):
        await door.identify(bearer(text))
    with pytest.raises(Unauthenticated):
        await door.identify(bearer("garbled"))
    store.away = False
    await door.identify(bearer(text))


async def test_renewing_keeps_holders_from_waiting(door: Door, store: Tokens, clock: Clock) -> None:
    """One look-up for all tokens in use; those that nobody uses are left alone."""
    used, idle = store.give(), store.give()
    first = await door.identify(bearer(used))
    await door.identify(bearer(idle))
    await door.renew()
    clock.now += 1
    assert door.known(f"Bearer {used}".encode()) is first
    clock.now += 2

    await door.renew()
    clock.now += 3

    assert store.asked[-1] == [used[9:17]]
    assert door.known(f"Bearer {used}".encode()) is first
    assert door.known(f"Bearer {idle}".encode()) is None


@pytest.mark.parametrize(
    "changed", [{"revoked": True}, {"accounts": ["a"]}, {"scopes": ["recon"]}, {"expires_in": 0.0}]
)
async def test_renewing_finds_what_changed(door: Door, store: Tokens, changed: dict[str, Any]) -> None:
    """A pass is what it was made of, or it is none."""
    text = store.give()
    found = await door.identify(bearer(text))
    store.change(text, **changed)

    await door.renew()

    assert not found.is_good()
    assert door.known(f"Bearer {text}".encode()) is None


async def test_what_was_used_is_used_whatever_changes(door: Door, store: Tokens) -> None:
    """No forgetting gives a token a new quota."""
    text = store.give(requests_per_minute=2)
    found = await door.identify(bearer(text))
    assert [found.spend(10.0), found.spend(10.0), found.spend(10.0)] == [True, True, False]
    store.change(text, accounts=["a"])
    door.forget(None)

    again = await door.identify(bearer(text))

    assert again.caller.accounts == ("a",)
    assert not again.spend(10.0)


async def test_callers_together_ask_once(door: Door, store: Tokens) -> None:
    """A thousand callers whose token is not known yet take two look-ups, and none its own connection."""
    text = store.give()

    found = await asyncio.gather(*(door.identify(bearer(text)) for _ in range(60)))

    assert len(set(map(id, found))) == 1
    assert len(store.asked) == 1


async def test_who_fails_often_is_told_to_stop_and_the_good_pass(door: Door, store: Tokens, clock: Clock) -> None:
    """429 with the time to wait, for the address and for the id; behind both, a good token is let in."""
    good = store.give()
    kinds: list[type[Problem]] = []
    for _ in range(FAILURES_MAX + 1):
        with pytest.raises(Problem) as refused:
            await door.identify(bearer(tokens.make("test").text))
        kinds.append(type(refused.value))

    assert kinds == [Unauthenticated] * (FAILURES_MAX - 1) + [TooManyRequests] * 2
    assert 0 < (refused.value.retry_after_seconds or 0) <= WINDOW_SECONDS + 1
    with pytest.raises(TooManyRequests):
        await door.identify(bearer("garbled"))
    await door.identify(bearer(good))
    with pytest.raises(Unauthenticated):
        await door.identify(bearer("garbled", client="192.0.2.9"))
    clock.now += WINDOW_SECONDS + 1
    with pytest.raises(Unauthenticated):
        await door.identify(bearer("garbled"))


async def test_guesses_at_one_id_from_everywhere(door: Door, store: Tokens) -> None:
    """A new address for each guess does not help; the holder still comes in."""
    good = store.give()
    kinds = []
    for number in range(FAILURES_MAX + 1):
        wrong = tokens.make("test").text
        store.stored[wrong[9:17]] = store.stored[good[9:17]]._replace(token_id=wrong[9:17])
        guess = good[:17] + wrong[17:60]
        guess += tokens._checksum(guess)
        with pytest.raises(Problem) as refused:
            await door.identify(bearer(guess, client=f"192.0.2.{number}"))
        kinds.append(type(refused.value))

    assert kinds[-1] is TooManyRequests
    await door.identify(bearer(good, client="192.0.2.200"))


async def test_behind_a_proxy_nobody_fails_for_another(door: Door, store: Tokens) -> None:
    """All callers have its address there: who fails often makes no good token wait, and gets the same refusal."""
    for client in ("127.0.0.1", "172.18.0.3", "::ffff:10.0.0.1"):
        for _ in range(FAILURES_MAX + 1):
            with pytest.raises(Unauthenticated):
                await door.identify(bearer("garbled", client=client))

    assert not door._addresses.wait_seconds(None, 1_000.0)
    await door.identify(bearer(store.give(), client="127.0.0.1"))


async def test_suspects_queue_up_only_so_far(door: Door, store: Tokens) -> None:
    """Whoever guesses on and on keeps neither memory nor the good ones behind him: 429 at once."""
    for _ in range(FAILURES_MAX):
        with pytest.raises(Problem):
            await door.identify(bearer("garbled"))
    texts = [store.give() for _ in range(_SUSPECTS_MAX + 1)]

    found = await asyncio.gather(*(door.identify(bearer(text)) for text in texts), return_exceptions=True)

    assert [type(one) for one in found].count(TooManyRequests) == 1
    assert isinstance(found[-1], TooManyRequests)


async def test_what_nobody_uses_is_forgotten_after_a_day(door: Door, store: Tokens, clock: Clock) -> None:
    """With its sight, whose number is never given again; what is in use stays, and what it has used."""
    first, used = store.give(accounts=["a"]), store.give(accounts=["b"], requests_per_minute=1)
    number = (await door.identify(bearer(first))).scope_key
    clock.now += _PASSES_SECONDS - 1
    kept = await door.identify(bearer(used))
    assert kept.spend(clock.now)
    clock.now += 2

    later = await door.identify(bearer(store.give(accounts=["c"])))

    assert first[9:17] not in door.passes
    assert await door.identify(bearer(used)) is kept
    again = await door.identify(bearer(first))
    assert len({number, later.scope_key, kept.scope_key, again.scope_key}) == 4
    assert len(door._sights) == 4


async def test_sights(door: Door, store: Tokens) -> None:
    """The key is equal for who may see the same, and for nobody else."""

    async def key(**row: Any) -> int:
        return (await door.identify(bearer(store.give(**row)))).scope_key

    memo = ["read", "read:memo"]
    keys = [
        await key(), await key(scopes=memo), await key(accounts=["a"]), await key(accounts=["a", "b"]),
        await key(accounts=["a,b"]), await key(accounts=["a"], scopes=memo), await key(scopes=["transfer:request"]),
    ]  # fmt: skip

    assert len(set(keys)) == len(keys)
    assert await key(scopes=["transfer:request", "read"]) == keys[0]
    assert await key(accounts=["b", "a", "a"]) == keys[3]


async def test_no_secret_is_kept(door: Door, store: Tokens) -> None:
    """Neither the token nor the header lies about in the door's memory."""
    text = store.give()
    found = await door.identify(bearer(text))

    held = repr([door.__dict__, found.caller, found.stored, *map(repr, door._known)])

    assert text not in held
    assert text[17:60] not in held
    assert STATIC not in held
