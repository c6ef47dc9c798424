"""Histories that once broke the mirror, told step by step."""

from tests.torture.conftest import Stage
from tests.torture.wire import Fault
from tests.torture.world import World


def test_booking_and_hold_in_different_chunks_of_a_void_pass(stage: Stage) -> None:
    """The bank shows the hold beside its booking, in another chunk of one pass, which is then read anew."""

    async def scene(world: World) -> None:
        await world.open(delta_feed=True, bulk_balances=True, page_rows=1, chunk_rows=2)
        hold = world.books.hold("acct_a", -5)
        world.books.post("acct_a", 1)
        world.books.book(("acct_a", hold), -6, link=True, keep=True, days=0)
        await world.sync(fault=Fault("mutate", 3))
        await world.settle()
        await world.compare()

    stage.run(scene(stage.world))


def test_hold_shown_again_before_its_booking_goes(stage: Stage) -> None:
    """Un-posted: for one chunk both are there, and the booking goes in another one."""

    async def scene(world: World) -> None:
        await world.open(delta_feed=True, bulk_balances=True, page_rows=1, chunk_rows=1)
        hold = world.books.hold("acct_a", -5)
        await world.sync()
        world.books.book(("acct_a", hold), -6, link=True, keep=False, days=0)
        await world.sync()
        booking = world.books.pick(0, status="posted", linked=True)
        assert booking is not None
        world.books.unbook(booking, removed_first=False)
        await world.settle()
        await world.compare()
        assert {row.transaction_id for row in world.books.expected()} == {hold}

    stage.run(scene(stage.world))
