"""kill -9 at any moment of a build that does everything: nothing finished is lost, nothing stays behind."""

import os
import random
import re
import secrets
import signal
import subprocess
import time

import pytest

from tests.e2e.support import wait_for
from tests.e2e.traces import broken_blobs, control_groups, mounts, processes, temporary

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]
DOCKERFILE = """\
FROM busybox
COPY many /many
RUN echo {word}; head -c 3000000 /dev/urandom > /random; sleep 0.1; echo {word} > /first
RUN cat /first > /second; mkdir /d; for i in 1 2 3 4 5 6 7 8 9; do echo $i > /d/$i; done
COPY large /large
"""
KILLS = int(os.environ.get("PYBUILD_KILLS", "20"))


class Endangered:
    """Builds of one context that are killed; each has a step of its own, so that something is to be done."""

    def __init__(self, pybuild, folder):
        self.pybuild, self.folder = pybuild, folder
        self.out, self.cache, self.context = folder / "out", folder / "cache", folder / "c"
        (self.context / "many").mkdir(parents=True)
        for number in range(100):
            (self.context / "many" / str(number)).write_bytes(os.urandom(1000))
        (self.context / "large").write_bytes(os.urandom(4 << 20))
        self.out.mkdir()
        self.new_word()

    def new_word(self):
        self.word = secrets.token_hex(8)
        (self.context / "Dockerfile").write_text(DOCKERFILE.format(word=self.word))

    @property
    def arguments(self):
        return [
            *("--progress", "plain", "-t", "app", "-o", f"type=oci,dest={self.out / 'image.tar'}", "-o"),
            *("type=image", "--cache-to", f"type=local,dest={self.cache},mode=max"),
            *("--iidfile", self.out / "iid", "--metadata-file", self.out / "meta", self.context),
        ]

    def run_and_kill(self, seconds):
        """Kill a build after a while; gives its log and whether it was still running."""
        with (self.folder / "log").open("wb+") as log:
            process = self.start(log)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            status = process.wait(30)
            log.seek(0)
            told = log.read().decode()
        assert status in (0, -signal.SIGKILL), told
        wait_for(lambda: not processes(self.word), "its processes to be gone", 10)
        self.process = process
        return told, status == 0

    def start(self, log):
        env = {**os.environ, "PYBUILD_ROOT": str(self.pybuild.root)}
        command = [self.pybuild.python, "-m", "builder", *map(str, self.arguments)]
        return subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
        )

    def check_what_is_there(self):
        """What a killed build left is whole, before anything tidies up."""
        assert broken_blobs(self.pybuild.root) == []
        assert broken_blobs(self.cache) == []
        assert set(os.listdir(self.out)) <= {"image.tar", "iid", "meta"}
        if (self.out / "image.tar").exists():
            subprocess.run(["tar", "-tf", self.out / "image.tar"], stdout=subprocess.DEVNULL, check=True)

    def check_the_next_build(self, told):
        """The next one takes over what was finished, and leaves nothing of the one that died."""
        again = self.pybuild(*self.arguments)
        for number, name in re.findall(r"^#(\d+) (\[\d/5\] .*)$", told, re.MULTILINE):
            if f"\n#{number} DONE" in told or f"\n#{number} CACHED" in told:
                assert re.search(rf"^#(\d+) {re.escape(name)}\n#\1 CACHED$", again.stderr, re.MULTILINE), name
        assert temporary(self.pybuild.root) == []
        assert temporary(self.cache) == []
        assert mounts(self.pybuild.root) == []
        assert control_groups(self.process.pid) == []
        assert broken_blobs(self.pybuild.root) == []
        assert broken_blobs(self.cache) == []
        assert sorted(os.listdir(self.out)) == ["iid", "image.tar", "meta"]
        image = (self.out / "iid").read_text()
        assert self.pybuild.image("app")["Id"] == image == again.stdout.strip()


def story(pybuild, folder, kills, seed):
    """Kill builds at random moments of their time."""
    random_ = random.Random(seed)
    build = Endangered(pybuild, folder)
    start = time.monotonic()
    assert build.run_and_kill(100)[1]
    whole = time.monotonic() - start
    died = 0
    for number in range(kills):
        build.new_word()
        told, ended = build.run_and_kill(whole * (number + random_.random()) / kills)
        died += not ended
        build.check_what_is_there()
        if number % 4 == 3 or kills > 50:
            build.check_the_next_build(told)
    assert died > kills // 4


def test_killed_at_any_moment(busybox, tmp_path):
    """Twenty moments over the length of a build."""
    story(busybox, tmp_path / "k", KILLS, seed=KILLS)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_very_many_moments(busybox, tmp_path, request):
    """The same, with two hundred moments and the next build after each."""
    if "long" not in (request.config.getoption("-m") or ""):
        pytest.skip("takes minutes; run it with -m long")
    story(busybox, tmp_path / "k", 200, seed=secrets.randbits(32))
