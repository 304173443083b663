"""Blocks of a body are written in their order, ahead of the network by as much as is allowed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.errors import StorageFull
from registry.server.sealing import BLOCK, Seals
from registry.server.writing import BlockWriter


class Threads:
    """As much of a `ServerState` as a writer needs."""

    def __init__(self):
        self.threads = ThreadPoolExecutor(4)
        self.seals = Seals()
        self.seals_uploads = False
        self.jobs = 0

    async def in_thread(self, function, *args):
        self.jobs += 1
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *args)


class Slow:
    """An upload that takes a block whenever it is told to, and has room for some."""

    identifier = "slow"

    def __init__(self, room=100):
        self.taken = []
        self.room = room
        self.turns = threading.Semaphore(0)

    @property
    def size(self):
        return sum(map(len, self.taken))

    def write(self, parts):
        assert self.turns.acquire(timeout=10)
        if len(self.taken) == self.room:
            raise StorageFull("no space is left")
        self.taken.append(b"".join(parts))


@pytest.fixture
def threads():
    state = Threads()
    yield state
    state.threads.shutdown()


async def test_blocks_are_written_in_their_order_by_one_thread(threads):
    """Without coming back to the event loop for each of them."""
    upload = Slow()
    writer = BlockWriter(upload, threads)
    for number in range(5):
        await writer.put([b"%d" % number, b";"], ahead=5)
    upload.turns.release(6)
    await writer.finish([b"rest"])
    assert upload.taken == [b"0;", b"1;", b"2;", b"3;", b"4;", b"rest"]
    assert threads.jobs == 2  # the blocks, and the rest


async def test_a_writer_that_caught_up_goes_on(threads):
    """Nothing is left behind when the thread ended meanwhile."""
    upload = Slow()
    upload.turns.release(10)
    writer = BlockWriter(upload, threads)
    for number in range(10):
        await writer.put([b"%d" % number], ahead=0)
        assert len(upload.taken) == number + 1
    await writer.finish([])
    assert b"".join(upload.taken) == b"0123456789"


async def test_memory_is_given_back_when_its_block_is_written(threads):
    """And whoever puts more than is allowed waits for it."""
    upload, released = Slow(), []
    writer = BlockWriter(upload, threads)
    for number in range(2):
        await writer.put([b"x"], ahead=2, release=lambda number=number: released.append(number))
    third = asyncio.ensure_future(writer.put([b"y"], ahead=2, release=lambda: released.append(2)))
    await asyncio.sleep(0.05)
    assert not third.done()
    assert released == []
    upload.turns.release()
    await third
    assert released == [0]
    upload.turns.release(2)
    await writer.finish([])
    await asyncio.sleep(0)  # what the thread told the event loop comes before the end of the thread
    assert released == [0, 1, 2]


@pytest.mark.parametrize("ahead", [0, 2])
async def test_a_full_disk_is_told_to_whoever_puts_more(threads, ahead):
    """Also to the one who waits, and again at the end; nothing more is written."""
    upload, released = Slow(room=1), []
    writer = BlockWriter(upload, threads)
    upload.turns.release(10)

    async def put_many():
        for _ in range(10):
            await writer.put([b"x"], ahead=ahead, release=lambda: released.append(1))
            await asyncio.sleep(0.01)

    with pytest.raises(StorageFull):
        await put_many()
    assert upload.taken == [b"x"]
    assert released
    with pytest.raises(StorageFull):
        await writer.finish([b"rest"])
    assert upload.taken == [b"x"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_is_written_is_sealed(threads, wanted):
    """Where pulls will want that, over several bodies of the same upload."""
    threads.seals_uploads = wanted
    upload = Slow()
    upload.turns.release(10)
    for _ in range(2):
        writer = BlockWriter(upload, threads)
        await writer.put([b"x" * BLOCK, b"y"], ahead=0)
        await writer.finish([b"rest"])
    assert len(threads.seals) == wanted
    seal = threads.seals.finish(upload.identifier, upload.size)
    assert (seal is not None) == wanted
    if seal is not None:
        data = b"".join(upload.taken)
        blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
        assert all(threads.seals.holds(seal, number, block) for number, block in enumerate(blocks))


async def test_what_was_not_written_is_not_sealed(threads):
    """A block for which there was no room is not in any seal."""
    threads.seals_uploads = True
    upload = Slow(room=1)
    upload.turns.release(10)
    writer = BlockWriter(upload, threads)
    await writer.put([b"x" * BLOCK], ahead=0)
    with pytest.raises(StorageFull):
        await writer.put([b"y" * BLOCK], ahead=0)
    with pytest.raises(StorageFull):
        await writer.finish([])
    assert threads.seals.finish(upload.identifier, 2 * BLOCK) is None
