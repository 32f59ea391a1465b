"""Gathering: what is asked in one turn of an event loop is done at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from synaptoroute.batching import Gathering


class Doubling:
    """Doubles numbers, and remembers which it was given together."""

    def __init__(self) -> None:
        self.done: list[tuple[str, list[int]]] = []

    def __call__(self, key: str, calls: list[int]) -> list[int]:
        self.done.append((key, calls))
        return [2 * call for call in calls]


async def test_those_who_ask_in_the_same_turn_are_answered_together() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 10)
    assert await asyncio.gather(*(gathering.ask("a", number) for number in range(7))) == list(range(0, 14, 2))
    assert await gathering.ask("a", 50) == 100
    assert doubling.done == [("a", list(range(7))), ("a", [50])]


async def test_calls_of_other_keys_are_done_by_themselves() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 10)
    asked = [("a", 1), ("b", 2), ("a", 3)]
    assert await asyncio.gather(*(gathering.ask(key, number) for key, number in asked)) == [2, 4, 6]
    assert doubling.done == [("a", [1, 3]), ("b", [2])]


async def test_after_so_many_the_loop_turns_to_others() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 3)
    seen: list[int] = []

    async def other() -> None:
        for _ in range(4):
            seen.append(len(doubling.done))
            await asyncio.sleep(0)

    asked = (gathering.ask("a", number) for number in range(8))
    *found, _ = await asyncio.gather(*asked, other())
    assert found == list(range(0, 16, 2))
    assert [len(calls) for _, calls in doubling.done] == [3, 3, 2]
    assert seen == [0, 1, 2, 3]


async def test_who_was_cancelled_is_not_asked_for() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 10)
    tasks = [asyncio.create_task(gathering.ask("a", number)) for number in range(3)]

    def leave() -> None:
        tasks[1].cancel()

    # The tasks begin in the next turn, and are answered in the one after that.
    asyncio.get_running_loop().call_soon(leave)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[0] == 0
    assert isinstance(found[1], asyncio.CancelledError)
    assert found[2] == 4
    assert doubling.done == [("a", [0, 2])]


async def test_a_failure_is_raised_for_all_of_its_key_and_for_nobody_else() -> None:
    def fail(key: str, calls: list[int]) -> list[int]:
        if key == "bad":
            raise ValueError("no")
        return calls

    gathering = Gathering(fail, 10)
    asked = [("bad", 1), ("good", 2), ("bad", 3)]
    found = await asyncio.gather(*(gathering.ask(key, number) for key, number in asked), return_exceptions=True)
    assert [str(each) for each in found] == ["no", "2", "no"]
    with pytest.raises(ValueError, match="no"):
        await gathering.ask("bad", 4)


def test_loops_of_several_threads_do_not_meet() -> None:
    threads: set[tuple[int, int]] = set()

    def do(key: int, calls: list[int]) -> list[int]:
        threads.add((key, threading.get_ident()))
        return calls

    gathering = Gathering(do, 4)

    async def ask() -> list[int]:
        me = threading.get_ident()
        return [number for _ in range(50) for number in await asyncio.gather(*(gathering.ask(me, n) for n in range(9)))]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: asyncio.run(ask()), range(3)))
    assert found == [list(range(9)) * 50] * 3
    assert all(key == thread for key, thread in threads)


async def test_where_nobody_loses_by_it_the_first_waits_for_others() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 10, lambda: 0.01)

    async def ask_later(number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0)
        return await gathering.ask("a", number)

    assert await asyncio.gather(*map(ask_later, range(5))) == [0, 2, 4, 6, 8]
    assert doubling.done == [("a", [0, 1, 2, 3, 4])]


async def test_as_soon_as_so_many_have_come_nobody_waits() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 3, lambda: 600.0)
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(gathering.ask("a", number) for number in range(3)))
        assert found == [0, 2, 4]
        # No timer of theirs is left for those who come next.
        assert await asyncio.gather(*(gathering.ask("a", number) for number in range(7, 10))) == [14, 16, 18]
    assert [calls for _, calls in doubling.done] == [[0, 1, 2], [7, 8, 9]]


async def test_it_is_asked_each_time_whether_one_may_wait() -> None:
    pauses = iter([0.01, 0.0])
    doubling = Doubling()
    gathering = Gathering(doubling, 10, lambda: next(pauses))
    assert [await gathering.ask("a", number) for number in range(2)] == [0, 2]
    assert next(pauses, None) is None


def test_a_loop_that_closes_while_they_wait_is_not_held() -> None:
    doubling = Doubling()
    gathering = Gathering(doubling, 10, lambda: 600.0)
    closed: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def give_up() -> None:
        closed.append(weakref.ref(asyncio.get_running_loop()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(gathering.ask("a", number) for number in range(3))), 0.01)

    asyncio.run(give_up())
    gc.collect()
    assert closed[0]() is None
    assert doubling.done == []
