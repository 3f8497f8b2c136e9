import asyncio

from deployments.batch_server.turns import Turns


def test_owners_take_turns_and_each_has_its_share_at_once() -> None:
    async def work() -> list[tuple[int, str]]:
        turns: Turns[str] = Turns(2)
        for name in "abcd":
            turns.put(1, name)
        taken: list[tuple[int, str]] = []
        ended = asyncio.Event()

        async def serve() -> None:
            async with turns.turn() as found:
                taken.append(found)
                await ended.wait()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(serve())
            await asyncio.sleep(0)
            assert taken == [(1, "a"), (1, "b")]
            turns.put(2, "x")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert taken[2:] == [(2, "x")]
            ended.set()
        assert turns.is_empty
        return taken

    assert asyncio.run(work()) == [(1, "a"), (1, "b"), (2, "x"), (1, "c"), (1, "d")]


def test_item_of_another_owner_goes_before_the_rest_of_the_first() -> None:
    async def order() -> list[str]:
        turns: Turns[str] = Turns(4)
        for owner, name in ((1, "a"), (1, "b"), (2, "x"), (1, "c"), (2, "y")):
            turns.put(owner, name)
        taken = []
        while not turns.is_empty:
            async with turns.turn() as (_, name):
                taken.append(name)
        return taken

    assert asyncio.run(order()) == ["a", "x", "b", "y", "c"]
