"""Running graphs of fake steps."""

import asyncio
import multiprocessing
import time

import pytest
from stand_ins import Fake, graph, host, step, text_layer

from builder.caching.cache import CacheRecord, SqliteCacheIndex
from builder.caching.recall import Recall
from builder.errors import BuildError
from builder.events import StepCached, StepDone, StepProblem, StepStarted
from builder.graph import Origin, Step
from builder.ops import BaseImage, Scratch
from builder.perform.base import Supplies
from builder.runner import run
from dockerfile_grammar.spans import Span
from oci_image.errors import StoreProblem
from oci_image.store.layout import LayoutBlobStore


@pytest.fixture
def supplies(tmp_path, recorder):
    return Supplies(host=host(tmp_path), sink=recorder)


async def test_a_chain_runs_in_order_and_stacks_layers(supplies, journal, recorder):
    """Each step sees the result of the one before."""
    head = step("c", step("b", step("a")))
    results = await run(graph(head), supplies)
    assert journal.ended == ["a", "b", "c"]
    assert len(results.snapshots[0].layers) == 3
    assert (results.steps, results.cached) == (3, 0)
    assert recorder.told(StepDone) == ["a", "b", "c"]


async def test_independent_steps_run_at_the_same_time(supplies, journal):
    """Two stages that do not need one another overlap."""
    head = step("join", step("left", delay=0.1), step("right", delay=0.1))
    await run(graph(head), supplies)
    assert journal.most == 2
    assert journal.ran[-1] == "join"


async def test_the_number_of_steps_at_once_is_limited(supplies, journal):
    """No more than the given number of steps run at once."""
    head = step("join", *(step(f"s{number}", delay=0.02) for number in range(6)))
    await run(graph(head), supplies, parallel=2)
    assert journal.most == 2


async def test_equal_steps_run_once(supplies, journal):
    """The same step reached on two ways, and made twice, runs once."""
    left = step("left", step("base", delay=0.02))
    right = step("right", step("base", delay=0.02))
    await run(graph(step("join", left, right)), supplies)
    assert sorted(journal.ran) == ["base", "join", "left", "right"]


async def test_several_targets_share_their_steps(supplies, journal):
    """Targets come back in their order, and what they share runs once."""
    base = step("base")
    results = await run(graph(step("x", base), step("y", base)), supplies)
    assert journal.ran.count("base") == 1
    assert [len(snapshot.layers) for snapshot in results.snapshots] == [2, 2]
    assert results.snapshots[0] != results.snapshots[1]


async def test_a_second_build_reuses_everything_and_says_so_once(supplies, journal, recorder):
    """Nothing runs again; every step is reported as cached exactly once, inputs first."""
    base = step("base")
    head = step("join", step("left", base), step("right", base))
    first = await run(graph(head), supplies)
    journal.ran.clear()
    recorder.events.clear()
    second = await run(graph(head), supplies)
    assert journal.ran == []
    assert second.snapshots == first.snapshots
    assert (second.steps, second.cached) == (4, 4)
    told = recorder.told(StepCached)
    assert sorted(told) == ["base", "join", "left", "right"]
    assert told[0] == "base"
    assert told[-1] == "join"


async def test_an_edited_step_reruns_itself_and_its_dependents(supplies, journal):
    """What lies before the edited step is reused."""
    await run(graph(step("c", step("b", step("a")))), supplies)
    journal.ran.clear()
    results = await run(graph(step("c", step("b2", step("a")))), supplies)
    assert journal.ran == ["b2", "c"]
    assert results.cached == 1


async def test_equal_content_of_another_stage_stops_the_rerun(supplies, journal, recorder):
    """A changed stage with an unchanged result lets those who copy from it be reused, and all after them."""
    await run(graph(step("d", step("c", step("a"), step("b", output="same")))), supplies)
    journal.ran.clear()
    recorder.events.clear()
    results = await run(graph(step("d", step("c", step("a"), step("b2", output="same")))), supplies)
    assert journal.ran == ["b2"]
    assert recorder.told(StepCached) == ["a", "c", "d"]
    assert results.cached == 3


async def test_a_changed_step_runs_again_what_continues_it(supplies, journal):
    """Also when it comes to the same, as with other builders."""
    await run(graph(step("c", step("b", output="same"))), supplies)
    journal.ran.clear()
    await run(graph(step("c", step("b2", output="same"))), supplies)
    assert journal.ran == ["b2", "c"]


async def test_a_step_that_gives_something_else_this_time_counts(supplies, journal):
    """Whoever continues a step that ran again is never mixed with its earlier result."""
    await run(graph(step("b", step("a", output="one"))), supplies)
    journal.ran.clear()
    results = await run(graph(step("b", step("a", output="two", no_cache=True))), supplies)
    assert journal.ran == ["a", "b"]
    assert results.snapshots[0].layers[0].diff_id == text_layer(supplies.host.blobs, "two").diff_id


async def test_a_hit_does_not_look_at_its_inputs(supplies, journal):
    """The inputs of a known step are not evaluated, even if they could not be."""
    head = step("head", step("below"))
    await run(graph(head), supplies)
    supplies.host.cache.forget(head.inputs[0].digest)
    journal.ran.clear()
    await run(graph(head), supplies)
    assert journal.ran == []


async def test_no_cache_runs_again_but_stores(supplies, journal):
    """A step that may not be reused runs; the next build may use the new result."""
    await run(graph(step("b", step("a"))), supplies)
    journal.ran.clear()
    again = graph(step("b", step("a", no_cache=True), no_cache=True))
    await run(again, supplies)
    assert journal.ran == ["a", "b"]
    journal.ran.clear()
    await run(graph(step("b", step("a"))), supplies)
    assert journal.ran == []


async def test_a_step_above_one_that_must_run_is_judged_by_content(supplies, journal):
    """It is not reused by its definition alone, but by what the rerun step gave."""
    await run(graph(step("b", step("a"))), supplies)
    journal.ran.clear()
    results = await run(graph(step("b", step("a", no_cache=True))), supplies)
    assert journal.ran == ["a"]
    assert results.cached == 1


async def test_records_whose_layers_vanished_are_no_hits(supplies, journal):
    """A result that was pruned from the store is made again."""
    head = step("b", step("a"))
    results = await run(graph(head), supplies)
    supplies.host.blobs.delete(results.snapshots[0].layers[0].descriptor.digest)
    journal.ran.clear()
    await run(graph(head), supplies)
    assert journal.ran == ["a"]


async def test_layers_of_the_base_image_need_not_be_here(supplies, journal, tmp_path, recorder):
    """A reused result needs only the layers that cannot be fetched again."""
    far = text_layer(host(tmp_path).blobs, "in a registry")
    head = step("b", Step(BaseImage((far,)), (), Origin(name="FROM")))
    await run(graph(head), supplies)
    journal.ran.clear()
    recorder.events.clear()
    results = await run(graph(head), supplies)
    assert journal.ran == []
    assert recorder.told(StepCached) == ["FROM", "b"]
    assert results.snapshots[0].layers[0] == far


async def test_scratch_is_empty_and_needs_no_work(supplies, journal):
    """An empty start has no layers and is not stored."""
    results = await run(graph(Step(Scratch(), (), Origin(name="FROM scratch"))), supplies)
    assert results.snapshots[0].layers == ()
    assert list(supplies.host.cache.items()) == []
    assert journal.ran == []


async def test_one_failure_is_one_error_and_cancels_the_rest(supplies, journal, recorder):
    """The failing step's own error comes out; what ran beside it was stopped, and waited for."""
    slow = step("slow", delay=5)
    bad = step("bad", delay=0.02, error=BuildError("bad: it broke"))
    started = time.monotonic()
    with pytest.raises(BuildError, match="it broke"):
        await run(graph(step("join", slow, bad)), supplies)
    assert time.monotonic() - started < 2
    assert journal.cancelled == ["slow"]
    assert journal.running == 0
    assert sorted(recorder.told(StepProblem)) == ["bad", "slow"]
    assert "join" not in journal.ran


async def test_two_failures_are_one_error(supplies):
    """The first failure counts."""
    one = step("one", error=BuildError("first"))
    two = step("two", delay=0.001, error=BuildError("second"))
    with pytest.raises(BuildError, match="first"):
        await run(graph(step("join", one, two)), supplies)


async def test_a_failure_gets_the_place_of_its_step(supplies):
    """An error of a store becomes the step's error, with its span, message and hint."""
    place = Span("Dockerfile", 3, 4)
    problem = StoreProblem("the disk is full", hint="buy another")
    bad = Step(Fake(name="bad", error=problem), (), Origin(name="COPY . .", span=place))
    with pytest.raises(BuildError) as caught:
        await run(graph(bad), supplies)
    assert caught.value.span == place
    assert caught.value.hint == "buy another"
    assert "COPY . .: the disk is full" in caught.value.message
    assert caught.value.__cause__ is problem


async def test_an_error_of_the_system_is_told_in_words(supplies):
    """No errno, no brackets."""
    problem = OSError(28, "No space left on device", "/store/x")
    with pytest.raises(BuildError, match=r"^bad: No space left on device: /store/x$"):
        await run(graph(step("bad", error=problem)), supplies)


async def test_a_mistake_of_ours_is_not_dressed_up(supplies):
    """An unexpected exception comes out as itself, not in a group."""
    with pytest.raises(ZeroDivisionError):
        await run(graph(step("join", step("bad", error=ZeroDivisionError()))), supplies)


async def test_failed_steps_are_not_stored(supplies, journal):
    """After a failure the finished steps are reused, the failed one runs again."""
    with pytest.raises(BuildError):
        await run(graph(step("b", step("a"), error=BuildError("no"))), supplies)
    journal.ran.clear()
    await run(graph(step("b", step("a"))), supplies)
    assert journal.ran == ["b"]


async def test_cancelling_a_build_waits_for_its_steps(supplies, journal, recorder):
    """When the cancelled build is over, so are its steps, and none is recorded."""
    task = asyncio.create_task(run(graph(step("slow", delay=5)), supplies))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.cancelled == ["slow"]
    assert recorder.told(StepProblem) == ["slow"]
    assert list(supplies.host.cache.items()) == []


async def test_very_long_chains_are_no_problem(supplies, journal):
    """The depth of a graph is not limited by Python's stack."""
    head = step("s0")
    for number in range(1, 1500):
        head = step(f"s{number}", head)
    await run(graph(head), supplies)
    assert len(journal.ended) == 1500
    journal.ran.clear()
    await run(graph(head), supplies)
    assert journal.ran == []


async def test_events_of_a_step_come_in_order(supplies, recorder):
    """A step starts before it is done."""
    await run(graph(step("a")), supplies)
    assert [type(event) for event in recorder.events] == [StepStarted, StepDone]


def test_a_fully_cached_build_needs_no_event_loop(supplies):
    """Looking everything up does not wait for anything, and tells nothing when something is missing."""
    head = step("b", step("a"))
    assert Recall(graph(head), supplies.host, supplies.sink).everything(graph(head)) is None
    asyncio.run(run(graph(head), supplies))
    results = Recall(graph(head), supplies.host, supplies.sink).everything(graph(head))
    assert results is not None
    assert (results.steps, results.cached) == (2, 2)


def _other_process(root, ready, queue):
    import stand_ins

    stand_ins.journal.__init__()
    cache = SqliteCacheIndex(f"{root}/cache.db")
    blobs = LayoutBlobStore(f"{root}/store", durable=False)
    supplies = Supplies(host=host(root, cache=cache, blobs=blobs), sink=lambda _: None)
    head = step("c", step("b", step("a", delay=0.3), delay=0.3))
    ready.wait()
    results = asyncio.run(run(graph(head), supplies))
    cache.close()
    queue.put((stand_ins.journal.ran, results.snapshots[0].chain))


def test_two_processes_run_equal_steps_once(tmp_path):
    """Two builds at once in one store share their work and agree on the result."""
    context = multiprocessing.get_context("fork")
    ready, queue = context.Event(), context.Queue()
    processes = [context.Process(target=_other_process, args=(str(tmp_path), ready, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    ready.set()
    outcomes = [queue.get(timeout=20) for _ in processes]
    for process in processes:
        process.join(timeout=20)
        assert process.exitcode == 0
    assert sorted(name for ran, _ in outcomes for name in ran) == ["a", "b", "c"]
    assert outcomes[0][1] == outcomes[1][1]


async def test_a_record_tells_what_a_step_cost(supplies):
    """The index remembers size and duration."""
    await run(graph(step("a", output="12345", delay=0.02)), supplies)
    records = [record for _, record, _ in supplies.host.cache.items()]
    assert records
    assert all(isinstance(record, CacheRecord) and record.layer_size == 5 for record in records)
    assert all(record.duration >= 0.02 for record in records)
