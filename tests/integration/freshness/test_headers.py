"""What the headers say: the same tag for the same news, the age of it, and since when it is so."""

from email.utils import parsedate_to_datetime

from ingest import store
from ingest.poll import Desk
from tests.integration.freshness.kept import ASK_ANEW, Kept, questions
from tests.integration.ingest.conftest import Mirror as Ingest
from tests.integration.ingest.model_bank import ModelBank, ModelReader

ROWS = "/banking/accounts/acct_a/transactions"


async def read(ingest: Ingest, bank: ModelBank) -> Desk:
    """Everything the bank has."""
    desk = await ingest.open(ModelReader(bank))
    await poll(ingest, desk)
    return desk


async def poll(ingest: Ingest, desk: Desk) -> None:
    """One poll of each feed."""
    for feed in ("accounts", "balances", "transactions"):
        await ingest.poll(desk, feed)


async def test_what_is_only_confirmed_is_not_modified(bank: ModelBank, mirror: Ingest, kept: Kept) -> None:
    """After a poll that finds nothing new every tag is what it was, and a 304 says that it was confirmed since."""
    bank.post("acct_a", -1)
    desk = await read(mirror, bank)
    # The first balance was stated before the first transactions were read, and is not explained yet.
    await poll(mirror, desk)
    await store.refresh_views(mirror.pool)
    asked = [path for path in questions(await kept.document(), "acct_a", "txn_000001") if "/changes" not in path]
    # These say in words, or of each feed, when it was confirmed.
    asked = [path for path in asked if not path.startswith(("/banking/sync", "/banking/can-pay"))]
    before = {path: await kept.client.get(path, headers=ASK_ANEW) for path in asked}

    await poll(mirror, desk)

    for path, answer in before.items():
        tag = answer.headers["etag"]
        assert tag.startswith('W/"')
        again = await kept.client.get(path, headers={**ASK_ANEW, "If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == tag
        assert again.headers["bankmirror-synced-at"] > answer.headers["bankmirror-synced-at"], path
        assert again.headers["bankmirror-verdict"] == answer.headers["bankmirror-verdict"]


async def test_news_and_verdicts_are_another_answer(bank: ModelBank, mirror: Ingest, kept: Kept) -> None:
    """A new row, and a doubt that changes no row."""
    bank.post("acct_a", -1)
    desk = await read(mirror, bank)
    tags = [await kept.etag(ROWS, **ASK_ANEW)]

    bank.post("acct_a", -2)
    await poll(mirror, desk)
    tags.append(await kept.etag(ROWS, **ASK_ANEW))
    bank.post("acct_a", -3, type=7)
    await poll(mirror, desk)
    tags.append(await kept.etag(ROWS, **ASK_ANEW))

    assert len(set(tags)) == 3


async def test_a_memo_cannot_hide_news(bank: ModelBank, mirror: Ingest, kept: Kept) -> None:
    """What is left out of the tag is found by its name, and a text that looks like it is still told apart."""
    bank.post("acct_a", -1, description='"synced_at":"2026-01-01"')
    desk = await read(mirror, bank)
    before = await kept.etag(ROWS, **ASK_ANEW)

    bank.change("acct_a", "txn_000001", description='"synced_at":"2026-01-02"')
    await poll(mirror, desk)

    assert await kept.etag(ROWS, **ASK_ANEW) != before


async def test_a_transaction_says_since_when(bank: ModelBank, mirror: Ingest, kept: Kept) -> None:
    """Since its last version is believed, or since it is gone; a settled moment, since that moment; others do not."""
    bank.post("acct_a", -1)
    desk = await read(mirror, bank)
    path = f"{ROWS}/txn_000001"

    made = await kept.client.get(path)
    known = made.json()["data"]["current"]["known_from"]
    assert parsedate_to_datetime(made.headers["last-modified"]).isoformat()[:19] == known[:19]
    bank.remove("acct_a", "txn_000001")
    await poll(mirror, desk)
    await kept.has_heard()
    gone = await kept.client.get(path)
    ended = gone.json()["data"]["revisions"][0]["known_to"]
    assert parsedate_to_datetime(gone.headers["last-modified"]).isoformat()[:19] == ended[:19]

    settled = await kept.client.get("/banking/balances?known_at=2020-01-31T12:00:00%2B02:00")
    assert settled.headers["last-modified"] == "Fri, 31 Jan 2020 10:00:00 GMT"
    assert "last-modified" not in (await kept.client.get(ROWS)).headers


async def test_bodies_are_compact(bank: ModelBank, mirror: Ingest, kept: Kept) -> None:
    """No white space between the members of a row, whatever its text looks like: agents pay for it."""
    texts = ('", "counterparty_name" : "', '{"description" : ', "a, b : c", ", \n ", '"\\')
    for text in texts:
        bank.post("acct_a", -1, description=text, counterparty={"name": text, "account_id": None})
    await read(mirror, bank)

    answer = await kept.client.get(ROWS)

    shown = {row["untrusted"]["description"] for row in answer.json()["data"]}
    assert {text.replace("\n", " ") for text in texts} == shown
    assert b'","' in answer.content
    assert b'},{"' in answer.content
    rows = answer.content.replace(rb"\"", b"")
    assert b'" : ' not in rows
