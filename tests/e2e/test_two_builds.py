"""Two builds at once over one store: an identical step runs once, and both get the same image."""

import pytest

from tests.e2e.support import wait_for

pytestmark = pytest.mark.userns

COUNT = "RUN --mount=type=cache,target=/c echo ran >> /c/log && sleep 2 && wc -l < /c/log > /count\n"


def written(path, text):
    """A build context with one Dockerfile."""
    path.mkdir()
    (path / "Dockerfile").write_text(text)
    return path


def test_an_identical_step_runs_once(busybox, tmp_path):
    """The second build waits for the first one's result and takes it."""
    context = written(tmp_path / "c", f"FROM busybox\n{COUNT}")
    first, second = (busybox.start("--progress", "plain", "-t", name, context) for name in ("a", "b"))
    told = [process.communicate(timeout=120)[1].decode() for process in (first, second)]

    assert [process.returncode for process in (first, second)] == [0, 0], told
    assert sorted("CACHED" in text.partition("RUN")[2] for text in told) == [False, True], told
    assert busybox.image("a")["Id"] == busybox.image("b")["Id"]
    assert busybox("run", "a", "cat", "/count").stdout.strip() == "1"


def test_a_step_whose_first_runner_is_killed(busybox, tmp_path):
    """Who waited for it runs it then; nothing hangs, and nothing half done is taken for a result."""
    context = written(tmp_path / "c", f"FROM busybox\n{COUNT}")
    first = busybox.start("--progress", "plain", context)
    log = busybox.root / "pybuild" / "mounts"
    wait_for(lambda: any(path.stat().st_size for path in log.glob("*/data/log")), "the step runs")
    second = busybox.start("--progress", "plain", "-t", "b", context)
    first.kill()
    first.communicate()
    told = second.communicate(timeout=120)[1].decode()

    assert second.returncode == 0, told
    assert busybox("run", "b", "cat", "/count").stdout.strip() == "2"
