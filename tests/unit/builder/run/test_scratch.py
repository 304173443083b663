"""Temporary directories, locks, and driving coroutines by hand."""

import asyncio
import multiprocessing
import os
import sys

import pytest

from builder.locks import exclusive, try_exclusive
from builder.loop import drive, needs_loop
from builder.perform.base import Stopped, checkpoint, in_thread
from builder.scratch import Scratch
from oci_image.errors import StoreProblem


def test_paths_are_new_and_go_away(tmp_path):
    """Everything is gone after close; nothing exists before the first use."""
    scratch = Scratch(str(tmp_path))
    assert not (tmp_path / "tmp").exists()
    first, second = scratch.new_directory("run"), scratch.new_path("run")
    assert first != second
    assert os.path.isdir(first)
    assert not os.path.exists(second)
    os.makedirs(f"{first}/deep/er", mode=0)
    scratch.close()
    scratch.close()
    assert os.listdir(tmp_path / "tmp") == []


def _die(root):
    Scratch(root).new_directory("left")
    os._exit(9)


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    """Those of living ones, and files of others, stay."""
    process = multiprocessing.get_context("fork").Process(target=_die, args=(str(tmp_path),))
    process.start()
    process.join()
    alive = Scratch(str(tmp_path))
    kept = alive.new_directory("alive")
    (tmp_path / "tmp" / "blob-other").write_text("x")
    fresh = Scratch(str(tmp_path))
    fresh.new_directory("fresh")
    assert os.path.isdir(kept)
    assert len(list((tmp_path / "tmp").glob("build-*"))) == 2
    assert (tmp_path / "tmp" / "blob-other").exists()
    alive.close()
    fresh.close()


def test_a_forgotten_directory_goes_with_its_user(tmp_path):
    """Also without close, but not because a forked child ends."""
    scratch = Scratch(str(tmp_path))
    place = scratch.new_directory("run")
    process = multiprocessing.get_context("fork").Process(target=scratch.close)
    process.start()
    process.join()
    assert os.path.isdir(place)
    del scratch
    assert os.listdir(tmp_path / "tmp") == []


def test_a_place_that_cannot_be_written(tmp_path):
    """The error names it."""
    (tmp_path / "tmp").write_text("a file")
    with pytest.raises(StoreProblem, match="temporary"):
        Scratch(str(tmp_path)).new_path("x")


async def test_a_lock_excludes_and_tells_that_it_waited(tmp_path):
    """The second holder comes after the first one."""
    order = []

    async def hold(name):
        async with exclusive(str(tmp_path / "lock")) as waited:
            order.append((name, waited))
            await asyncio.sleep(0.05)
            order.append((name, "out"))

    await asyncio.gather(hold("a"), hold("b"))
    assert order == [("a", False), ("a", "out"), ("b", True), ("b", "out")]


async def test_waiting_for_a_lock_can_be_cancelled(tmp_path):
    """And the lock is not left taken."""
    held = try_exclusive(str(tmp_path / "lock"))
    assert try_exclusive(str(tmp_path / "lock")) is None

    async def wait():
        async with exclusive(str(tmp_path / "lock")):
            raise AssertionError

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.close()
    held.close()
    assert try_exclusive(str(tmp_path / "lock")) is not None


def test_a_coroutine_that_never_waits_needs_no_loop():
    """It is driven to its end by hand."""

    async def answer():
        return 42

    assert drive(answer(), lambda _: pytest.fail("no loop is needed")) == 42


def test_a_coroutine_goes_on_under_a_loop():
    """What it did before is not done again."""
    done = []

    async def work():
        done.append("first")
        await needs_loop()
        await asyncio.sleep(0)
        done.append(asyncio.get_running_loop() is not None)
        await needs_loop()
        return "result"

    assert drive(work(), asyncio.run) == "result"
    assert done == ["first", True]


def test_errors_come_through():
    """From both halves."""

    async def early():
        raise KeyError("early")

    async def late():
        await needs_loop()
        raise KeyError("late")

    for coroutine in (early(), late()):
        with pytest.raises(KeyError):
            drive(coroutine, asyncio.run)


async def test_a_cancelled_wait_for_a_thread_waits_for_its_end():
    """The thread stops at its next checkpoint, and nothing runs afterwards."""
    state = []

    def work():
        try:
            for _ in range(1000):
                checkpoint()
                state.append("works")
                import time

                time.sleep(0.01)
        except Stopped:
            state.append("stopped")
            raise

    task = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state[-1] == "stopped"


async def test_threads_give_results_and_errors():
    """Arguments go in; a checkpoint of a living caller does nothing."""

    def work(number, *, more):
        checkpoint()
        return number + more

    assert await in_thread(work, 1, more=2) == 3
    with pytest.raises(TypeError):
        await in_thread(work, 1)
    checkpoint()


def test_what_the_cached_path_loads():
    """Looking a build up needs neither asyncio nor anything that performs steps."""
    import subprocess

    cached = "builder.caching.recall, builder.caching.cache, builder.assemble, builder.loop"
    program = f"import {cached}, sys; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(output.split())
    assert not loaded & {
        "asyncio",
        "lark",
        "aiohttp",
        "runtime.sandbox",
        "builder.runner",
        "zstandard",
        "rich",
    }
