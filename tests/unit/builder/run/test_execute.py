"""RUN in a real sandbox: output, failures, users, mounts, caches."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest
from stand_ins import EPOCH, PLATFORM, Recorder, directory, file, graph, host, symlink

from builder.caching.cache import MemoryCacheIndex
from builder.errors import BuildError, MissingSource, StepFailed
from builder.events import StepCached, StepLog, StepProblem
from builder.graph import Origin, Step
from builder.ops import BaseImage, CopyFiles, Exec, ExecMount, InlineFile, InlineSource, Scratch
from builder.perform import execute, files  # noqa: F401 - they register what performs steps
from builder.perform.base import Supplies
from builder.perform.execute import _limits
from builder.request import Bounds
from builder.rootfs.open import open_driver
from builder.runner import run
from builder.scratch import Scratch as ScratchDirectory
from builder.snapshots import Snapshot
from builder.ssh import AgentSource
from dockerfile_grammar.spans import Span
from oci_image.layer.entry import Entry, Kind
from oci_image.platform import Platform
from runtime.probe import can_sandbox
from runtime.sandbox import LinuxSandbox
from runtime.spec import Ulimit

pytestmark = pytest.mark.userns
BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh",
    "cat",
    "echo",
    "id",
    "ls",
    "sleep",
    "touch",
    "wc",
    "mkdir",
    "rm",
    "test",
    "env",
    "stat",
    "yes",
    "head",
)


@pytest.fixture(scope="module")
def sandbox():
    required = "userns" in os.environ.get("PYBUILD_REQUIRE", "").split(",")
    ability = can_sandbox()
    reason = None if ability.ok else f"{ability.name}: {ability.detail}"
    if not os.path.exists(BUSYBOX) or os.getuid() != 0:
        reason = "needs root and busybox"
    if reason:
        pytest.fail(reason) if required else pytest.skip(reason)
    with LinuxSandbox() as made:
        yield made


class Lab:
    """A busybox base, a host with everything real, and short ways to make steps."""

    def __init__(self, bench, sandbox):
        self.bench = bench
        self.scratch = ScratchDirectory(bench.state)
        driver = open_driver(bench.blobs, bench.layers, self.scratch, bench.state, user_namespace=False)
        self.host = host(
            bench.state,
            blobs=bench.blobs,
            layers=bench.layers,
            cache=MemoryCacheIndex(),
            rootfs=lambda: driver,
            sandbox=lambda: sandbox,
        )
        self.events = Recorder()
        layer = bench.layer(
            directory("bin"),
            (Entry("bin/busybox", Kind.FILE, 0o755), Path(BUSYBOX).read_bytes()),
            *(symlink(f"bin/{name}", "busybox") for name in APPLETS),
            directory("etc"),
            file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/home/app:/bin/sh\n"),
            file("etc/group", "root:x:0:\napp:x:1002:\n"),
        )
        self.base = Step(BaseImage((layer,)), (), Origin(name="FROM busybox"))

    def exec(self, command, *more, base=None, name="RUN", no_cache=False, **options):
        argv = ("/bin/sh", "-ec", command) if isinstance(command, str) else command
        values = {
            "argv": argv,
            "env": ("PATH=/bin",),
            "cwd": "/",
            "user": "",
            "platform": PLATFORM,
            "epoch": EPOCH,
            "network": "none",
            **options,
        }
        origin = Origin(name=name, span=Span("Dockerfile", 3, 3), no_cache=no_cache)
        return Step(Exec(**values), (base or self.base, *more), origin)

    async def run(self, *steps, **supplies):
        given = Supplies(host=self.host, sink=self.events, contexts={"": self.bench.context}, **supplies)
        return (await run(graph(*steps), given)).snapshots[0]

    def output(self, stream=None):
        logs = [event for event in self.events.events if isinstance(event, StepLog)]
        return b"".join(log.data for log in logs if stream in (None, log.stream)).decode()

    def read(self, snapshot, path):
        return self.bench.tree(snapshot).read(path, 1 << 20).decode()

    def close(self):
        self.scratch.close()


@pytest.fixture
def lab(bench, sandbox):
    made = Lab(bench, sandbox)
    yield made
    made.close()


async def test_a_command_runs_and_its_changes_are_a_layer(lab):
    """Output arrives as events, files as a layer with the epoch as their time."""
    snapshot = await lab.run(lab.exec("echo out; echo err >&2; echo content > /made"))
    assert lab.output(1) == "out\n"
    assert lab.output(2) == "err\n"
    assert lab.read(snapshot, "made") == "content\n"
    assert lab.bench.tree(snapshot).lookup("made").mtime == EPOCH
    assert lab.bench.written(snapshot) == ["made"]


async def test_the_name_of_the_sandbox(lab):
    """A command sees the host name that was asked for, or the usual one."""
    await lab.run(lab.exec("cat /proc/sys/kernel/hostname"))
    await lab.run(lab.exec("cat /proc/sys/kernel/hostname", hostname="box.example"))
    assert lab.output() == "buildkitsandbox\nbox.example\n"


def test_bounds_reach_the_sandbox():
    """Every bound of a build is a limit of each command."""
    bounds = Bounds(
        shm_size=1,
        memory=2,
        memory_swap=3,
        cpus=0.5,
        cpu_shares=4,
        cpuset_cpus="0",
        cpuset_mems="1",
        cgroup_parent="g",
        ulimits=(("nofile", 5, 6),),
    )
    limits = _limits(bounds)
    assert (limits.shm_size, limits.memory, limits.memory_swap, limits.cpus) == (1, 2, 3, 0.5)
    assert (limits.cpu_shares, limits.cpuset_cpus, limits.cpuset_mems) == (4, "0", "1")
    assert (limits.parent, limits.ulimits) == ("g", (Ulimit("nofile", 5, 6),))


async def test_equal_runs_give_equal_layers(lab):
    """The same command gives the same layer, whenever it runs."""
    first = await lab.run(lab.exec("mkdir -p /a/b; echo x > /a/b/c"))
    await asyncio.sleep(1.1)
    second = await lab.run(lab.exec("mkdir -p /a/b; echo x > /a/b/c", no_cache=True))
    assert first == second


async def test_old_times_stay_unless_clamped(lab):
    """A command that preserves times keeps them; an epoch that was asked for is the latest there is."""
    command = "touch -d '2001-02-03 00:00:00' /old; touch /new; touch -d '1970-01-02 00:00:00' /older"
    tree = lab.bench.tree(await lab.run(lab.exec(command)))
    assert [tree.lookup(name).mtime for name in ("old", "new", "older")] == [981158400, EPOCH, 86400]
    tree = lab.bench.tree(await lab.run(lab.exec(command, clamp=True)))
    assert [tree.lookup(name).mtime for name in ("old", "new", "older")] == [EPOCH, EPOCH, 86400]


async def test_environment_directory_and_user(lab):
    """Variables, working directory and user are as asked; HOME is that of the user."""
    step = lab.exec(
        "id -u; id -g; echo $HOME $A $http_proxy; ls -d $PWD",
        base=Step(
            CopyFiles(sources=(InlineSource("x", b"x"),), dest="/w/", epoch=EPOCH),
            (lab.base,),
            Origin(name=""),
        ),
        env=("PATH=/bin", "A=b"),
        hidden_env=("http_proxy=proxy",),
        cwd="/w",
        user="app",
    )
    await lab.run(step)
    assert lab.output().split() == ["1001", "1002", "/home/app", "b", "proxy", "/w"]


async def test_a_failing_command_is_one_error_with_the_end_of_its_output(lab):
    """The exit status, the tail and the place in the Dockerfile; nothing is stored."""
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec("echo some; echo words >&2; exit 3", name="RUN it"))
    problem = caught.value
    assert (problem.exit_code, problem.name, problem.span.start_line) == (3, "RUN it", 3)
    assert sorted(problem.tail.split()) == ["some", "words"]
    assert lab.events.told(StepProblem) == ["RUN it"]
    assert list(lab.host.cache.items()) == []
    assert not any(name.startswith(("run", "script")) for name in _temporary(lab))


def _temporary(lab):
    walked = os.walk(Path(lab.bench.state) / "tmp")
    return [name for _, folders, names in walked for name in (*folders, *names)]


async def test_a_long_output_keeps_its_last_lines(lab):
    """The tail is bounded and begins with a whole line."""
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec("yes 0123456789 | head -n 20000; echo last; exit 1"))
    assert len(caught.value.tail) <= 16 << 10
    assert caught.value.tail.endswith("0123456789\nlast\n")
    assert caught.value.tail.startswith("0123456789\n")
    assert len(lab.output()) == 20000 * 11 + 5


async def test_a_missing_program_fails_with_127(lab):
    """As a shell would say."""
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec(("nonsense",)))
    assert caught.value.exit_code == 127
    assert "nonsense" in caught.value.tail
    other = Platform(os="linux", architecture="s390x")
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec(("nonsense",), platform=other))
    assert caught.value.hint is None  # it is missing, whatever it would be for


async def test_a_signal_is_128_and_more(lab):
    """Killed by the ninth signal means 137."""
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec("sh -c 'kill -9 $$'; echo not reached"))
    assert caught.value.exit_code == 137


async def test_an_unknown_user_is_an_error_of_the_step(lab):
    """The name is in the message."""
    with pytest.raises(BuildError, match="ghost"):
        await lab.run(lab.exec("true", user="ghost"))


async def test_cancelling_kills_the_command_and_leaves_nothing(lab):
    """No process, no workspace, no record."""
    task = asyncio.create_task(lab.run(lab.exec("echo started; sleep 60")))
    for _ in range(500):
        await asyncio.sleep(0.02)
        if "started" in lab.output():
            break
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 10
    assert list(lab.host.cache.items()) == []
    assert not any(name.startswith("run") for name in _temporary(lab))


async def test_a_failure_beside_kills_the_other_command(lab):
    """The slow one ends at once."""
    started = time.monotonic()
    with pytest.raises(StepFailed):
        await lab.run(lab.exec("sleep 60"), lab.exec("sleep 0.3; exit 5"))
    assert time.monotonic() - started < 20


async def test_scripts_of_heredocs_can_be_executed(lab):
    """The file is there while the command runs, and not in the layer."""
    script = InlineFile(path="/dev/pipes/EOF", content=b"#!/bin/cat\nits own text\n", mode=0o755)
    snapshot = await lab.run(lab.exec("/dev/pipes/EOF", files=(script,)))
    assert lab.output() == "#!/bin/cat\nits own text\n"
    assert lab.bench.written(snapshot) == []


class TestBindMounts:
    """--mount=type=bind."""

    def context_mount(self, lab, source, **options):
        digest = lab.bench.context.select(source).digest
        return ExecMount(
            type="bind", target="/in", source=source, context="", context_digest=digest, **options
        )

    async def test_of_the_build_context(self, lab):
        """What is selected is there, owned by root, read-only, and not in the layer."""
        (lab.bench.context_root / "d").mkdir()
        (lab.bench.context_root / "d" / "f").write_text("F")
        mount = self.context_mount(lab, "d")
        command = "cat /in/f; stat -c %u /in/f; ! touch /in/x 2>/dev/null; echo y > /kept"
        snapshot = await lab.run(lab.exec(command, mounts=(mount,)))
        assert lab.output() == "F0\n"
        assert lab.bench.written(snapshot) == ["kept"]

    async def test_of_one_file(self, lab):
        """The target is a file then."""
        (lab.bench.context_root / "f").write_text("F")
        await lab.run(lab.exec("cat /in", mounts=(self.context_mount(lab, "f"),)))
        assert lab.output() == "F"

    async def test_writes_are_thrown_away(self, lab):
        """A writable mount can be written to, in the command only."""
        (lab.bench.context_root / "d").mkdir()
        mount = self.context_mount(lab, "d", readonly=False)
        snapshot = await lab.run(lab.exec("echo x > /in/new; cat /in/new", mounts=(mount,)))
        assert lab.output() == "x\n"
        assert lab.bench.written(snapshot) == []
        assert not (lab.bench.context_root / "d" / "new").exists()

    async def test_of_another_stage(self, lab):
        """Also a part of it; changed content runs the command again, changed surroundings do not."""

        def steps(content, beside):
            stage = lab.exec(f"mkdir -p /out; echo {content} > /out/f; echo {beside} > /beside")
            mount = ExecMount(type="bind", target="/in", source="/out", input=1)
            return lab.exec("cat /in/f", stage, mounts=(mount,), name="use")

        await lab.run(steps("one", 1))
        assert lab.output() == "one\n"
        await lab.run(steps("one", 2))
        assert lab.events.told(StepCached)[-1] == "use"
        assert lab.output() == "one\n"
        await lab.run(steps("two", 2))
        assert lab.output() == "one\ntwo\n"

    async def test_of_the_whole_of_another_stage(self, lab):
        """The root is mounted as a merged whole."""
        stage = lab.exec("echo 2 > /second", base=lab.exec("echo 1 > /first"))
        mount = ExecMount(type="bind", target="/in", source="/", input=1)
        await lab.run(lab.exec("cat /in/first /in/second; ls /in/bin | wc -l", stage, mounts=(mount,)))
        assert lab.output().split()[:2] == ["1", "2"]

    async def test_of_something_that_is_not_there(self, lab):
        """An error before anything runs."""
        mount = ExecMount(type="bind", target="/in", source="/nowhere", input=1)
        with pytest.raises(MissingSource):
            await lab.run(lab.exec("true", lab.exec("echo 1 > /x"), mounts=(mount,)))

    async def test_of_an_empty_stage(self, lab):
        """An empty directory."""
        mount = ExecMount(type="bind", target="/in", source="/", input=1)
        await lab.run(lab.exec("ls -a /in | wc -l", Step(Scratch(), (), Origin(name="")), mounts=(mount,)))
        assert lab.output() == "2\n"


class TestCacheMounts:
    """--mount=type=cache."""

    def mount(self, **options):
        return ExecMount(type="cache", target="/c", **{"id": "/c", "readonly": False, **options})

    async def test_what_is_written_stays_for_the_next(self, lab):
        """Outside the layer, and outside the key."""
        snapshot = await lab.run(lab.exec("echo a >> /c/log; stat -c '%a %u' /c", mounts=(self.mount(),)))
        await lab.run(lab.exec("echo b >> /c/log; cat /c/log", mounts=(self.mount(),)))
        assert lab.output().split() == ["755", "0", "a", "b"]
        assert lab.bench.written(snapshot) == []

    async def test_owner_and_mode_make_another_cache(self, lab):
        """The first user's choice does not change under the second one."""
        await lab.run(
            lab.exec("echo a > /c/x; stat -c '%a %u %g' /c", mounts=(self.mount(mode=0o770, uid=5, gid=6),))
        )
        await lab.run(lab.exec("ls /c; stat -c '%a %u %g' /c", mounts=(self.mount(),)))
        assert lab.output().split() == ["770", "5", "6", "755", "0", "0"]

    async def test_it_may_begin_with_the_content_of_a_stage(self, lab):
        """Only when it is made."""
        stage = lab.exec("mkdir -p /seed/deep; echo seed > /seed/deep/x")
        mount = self.mount(input=1, source="/seed", id="seeded")
        await lab.run(lab.exec("cat /c/deep/x; echo changed > /c/deep/x", stage, mounts=(mount,)))
        await lab.run(lab.exec("cat /c/deep/x # again", stage, mounts=(mount,)))
        assert lab.output() == "seed\nchanged\n"

    async def test_readonly(self, lab):
        """A read-only cache cannot be written to."""
        await lab.run(lab.exec("! touch /c/x 2>/dev/null", mounts=(self.mount(readonly=True),)))

    async def test_locked_ones_wait(self, lab):
        """Two commands with one locked cache run one after the other."""
        command = "test ! -e /c/busy; touch /c/busy; sleep 0.4; rm /c/busy"
        mount = self.mount(sharing="locked", id="locked")
        await lab.run(*(lab.exec(f"{command} # {number}", mounts=(mount,)) for number in range(2)))

    async def test_several_locked_ones_never_wait_for_one_another(self, lab):
        """Whatever their order, and also when one command has the same cache twice."""
        first = self.mount(sharing="locked", id="first")
        second = ExecMount(type="cache", target="/c2", id="second", sharing="locked", readonly=False)
        again = ExecMount(type="cache", target="/c3", id="first", sharing="locked", readonly=False)
        steps = [
            lab.exec("sleep 0.2 # 1", mounts=(first, second)),
            lab.exec("sleep 0.2 # 2", mounts=(second, first)),
            lab.exec("echo x > /c/x; cat /c3/x", mounts=(first, again)),
        ]
        async with asyncio.timeout(30):
            await lab.run(*steps)
        assert lab.output() == "x\n"

    async def test_private_ones_are_separate_at_the_same_time(self, lab):
        """Each of two commands at once has its own; later ones find one of them."""
        mount = self.mount(sharing="private", id="private")
        command = "test ! -e /c/busy; touch /c/busy; sleep 0.8; rm /c/busy; touch /c/kept"
        await lab.run(*(lab.exec(f"{command} # {number}", mounts=(mount,)) for number in range(2)))
        await lab.run(lab.exec("ls /c", mounts=(mount,)))
        assert lab.output() == "kept\n"

    async def test_shared_ones_are_shared_at_the_same_time(self, lab):
        """The second command sees the first one's files while it runs."""
        mount = self.mount(id="shared")
        give = lab.exec("touch /c/here; sleep 3", mounts=(mount,))
        take = lab.exec(
            "for i in 1 2 3 4 5; do test -e /c/here && exit 0; sleep 0.5; done; exit 1", mounts=(mount,)
        )
        await lab.run(give, take)


async def test_tmpfs(lab):
    """Writable, empty, and not in the layer."""
    mount = ExecMount(type="tmpfs", target="/t", readonly=False, size=1 << 20)
    snapshot = await lab.run(
        lab.exec("echo x > /t/x; ! head -c 3000000 /dev/zero > /t/big 2>/dev/null", mounts=(mount,))
    )
    assert lab.bench.written(snapshot) == []


async def test_secrets(lab):
    """There while the command runs, with the given mode and owner; the value is in no layer and no key."""
    mounts = (
        ExecMount(type="secret", id="token", target="/run/secrets/token", required=True),
        ExecMount(type="secret", id="other", env="OTHER", target="/s", mode=0o444, uid=7),
        ExecMount(type="secret", id="absent", target="/absent"),
    )
    step = lab.exec(
        "cat /run/secrets/token; stat -c '%a %u' /run/secrets/token /s; echo $OTHER; test ! -e /absent",
        mounts=mounts,
    )
    snapshot = await lab.run(step, secrets={"token": b"hidden\n", "other": b"value"})
    assert lab.output().split() == ["hidden", "400", "0", "444", "7", "value"]
    assert lab.bench.written(snapshot) == []
    assert b"hidden" not in step.preimage
    with pytest.raises(BuildError, match="secret token was not given"):
        await lab.run(lab.exec("true # needs it", mounts=mounts[:1]))


async def test_the_agent_of_ssh(lab, tmp_path):
    """A socket with the owner and mode of the mount, not the agent's own, and the variable that names it."""
    place = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(place))
        agent.listen()
        mounts = (
            ExecMount(type="ssh", target="", id="default", uid=5, gid=6, mode=0o640),
            ExecMount(type="ssh", target="/second", id="default"),
            ExecMount(type="ssh", target="/absent", id="absent"),
        )
        command = "echo $SSH_AUTH_SOCK; stat -c '%F %a %u %g' $SSH_AUTH_SOCK /second; test ! -e /absent"
        given = {"default": AgentSource(socket=str(place))}
        snapshot = await lab.run(lab.exec(command, mounts=mounts), ssh=given)
    assert lab.output().splitlines() == [
        "/run/buildkit/ssh_agent.0",
        "socket 640 5 6",
        "socket 600 0 0",
    ]
    assert lab.bench.written(snapshot) == []
    with pytest.raises(BuildError, match="ssh agent"):
        await lab.run(lab.exec("true", mounts=(ExecMount(type="ssh", target="", required=True),)))
    with pytest.raises(BuildError, match="cannot reach the ssh agent"):
        await lab.run(lab.exec("true", mounts=mounts[:1]), ssh=given)


async def test_a_secret_that_no_variable_can_hold(lab):
    """An error that names it and does not show it."""
    mount = ExecMount(type="secret", id="raw", target="", env="RAW")
    with pytest.raises(BuildError, match="secret raw holds a zero byte") as caught:
        await lab.run(lab.exec("true", mounts=(mount,)), secrets={"raw": b"hidden\0"})
    assert "hidden" not in str(caught.value)


async def test_a_run_in_an_empty_image_says_what_is_missing(lab):
    """FROM scratch has no shell."""
    with pytest.raises(StepFailed) as caught:
        await lab.run(lab.exec("true", base=Step(Scratch(), (), Origin(name="FROM scratch"))))
    assert caught.value.exit_code == 127


async def test_twenty_steps(lab):
    """Long chains stack, every layer is reused when the build is repeated."""
    head = lab.base
    for number in range(20):
        head = lab.exec(f"echo {number} > /f{number}", base=head)
    snapshot = await lab.run(head)
    assert len(snapshot.layers) == 21
    assert lab.read(snapshot, "f19") == "19\n"
    assert await lab.run(head) == snapshot
    assert isinstance(snapshot, Snapshot)
