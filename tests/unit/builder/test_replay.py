"""Recorded builds: what lets a record be written, what it survives, and that a replay tells the same."""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import pty
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.caching import recorded, replay
from builder.cli.inputs import read_inputs
from builder.cli.main import main
from builder.cli.replaying import record_key
from builder.cli.verbs.build import parser
from builder.contexts import statcache

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def serving(folder):
    """The address of a server for the files of a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Project:
    """A store, and a context that is built on the command line of this process."""

    def __init__(self, folder, capfd):
        self.root = folder / "root"
        self.context = folder / "context"
        self.context.mkdir()
        self.capfd = capfd
        self.flags = []

    def write(self, path, text="", mode=0o644):
        """Write a file of the context."""
        target = self.context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def arguments(self, *flags):
        """The whole command line behind the program's name."""
        return ["--root", str(self.root), *self.flags, *flags, str(self.context)]

    def build(self, *flags):
        """Build, and return the image ID, which is all of standard output, and what was shown."""
        self.capfd.readouterr()
        status = main(self.arguments(*flags))
        out, err = self.capfd.readouterr()
        assert status == 0, err
        return out.strip(), err

    def record(self, *flags):
        """The record that would answer now, or None."""
        args = parser().parse_args(self.arguments(*flags))
        inputs = read_inputs(args, os.environ)
        key = record_key(args, inputs, os.environ)
        return replay.find(str(self.root), key, inputs.context) if key else None

    def recorded(self, *flags):
        """Build so that there is a record, and return the image ID."""
        image, _ = self.build(*flags)
        assert self.record(*flags) is not None
        time.sleep(0.02)  # whatever happens next gets another time from the filesystem's clock
        return image

    def forget(self):
        """Remove all records."""
        shutil.rmtree(self.root / "pybuild" / replay.FOLDER, ignore_errors=True)


@pytest.fixture
def project(tmp_path, capfd, monkeypatch):
    """A project whose files count as old enough at once, with everything in it that a rule speaks of."""
    monkeypatch.setattr(recorded, "RACY_NS", -60_000_000_000)
    monkeypatch.setenv("PYBUILD_USERNS", "1")  # the tests' process must not execute itself again
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = Project(tmp_path, capfd)
    made.write("Dockerfile", "FROM scratch\nARG WORD\nCOPY . /app\nLABEL word=$WORD\n")
    made.write(".dockerignore", "*.log\n.dockerignore\nDockerfile\nbuild\n!build/kept\n")
    made.write("a.txt", "one")
    made.write("src/deep/b.txt", "two")
    made.write("noise.log", "three")
    made.write("build/kept/c.txt", "four")
    made.write("build/dropped", "five")
    (made.context / "link").symlink_to("a.txt")
    return made


def test_the_first_build_is_recorded(project):
    """A build that had to run says what the next one would come to, which is answered from that."""
    first, _ = project.build()

    record = project.record()
    assert record["answer"]["id"] == first
    assert record["answer"]["steps"] == {"total": 2, "cached": 2}
    assert project.build()[0] == first


def test_a_build_of_several_stages_is_recorded_as_it_is_planned(project):
    """What a record tells of the steps is what a cached build without one tells."""
    project.write(
        "Dockerfile",
        "FROM scratch AS one\nCOPY a.txt /\nFROM scratch AS two\nCOPY src /src\n"
        "FROM one\nCOPY --from=two /src /src\nWORKDIR /work\n",
    )
    project.build("--progress", "plain")
    steps = project.record()["steps"]

    project.forget()
    project.build("--progress", "plain")

    assert project.record()["steps"] == steps
    assert len(steps) == 5


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nADD {}/served /\n",
        "ARG SOURCE_DATE_EPOCH=time\nFROM scratch AS time\nADD {}/served /\nFROM scratch\nCOPY a.txt /\n",
    ],
    ids=["copied", "asked for its time"],
)
def test_a_file_that_has_to_be_fetched_is_not_recorded(project, tmp_path, text):
    """Whether the file behind a URL is still the same only its server knows, whatever it is used for."""
    with serving(tmp_path) as address:
        (tmp_path / "served").write_text("content")
        project.write("Dockerfile", text.format(address))
        project.build()
        project.build()

    assert project.record() is None


CHANGES = {
    "content": lambda c: (c / "a.txt").write_text("two"),
    "longer content": lambda c: (c / "src/deep/b.txt").write_text("more"),
    "mode": lambda c: (c / "a.txt").chmod(0o755),
    "mode of a directory": lambda c: (c / "src").chmod(0o700),
    "new file": lambda c: (c / "src/new").write_text(""),
    "new file in an ignored directory that shows through": lambda c: (c / "build/kept/new").write_text(""),
    "new directory": lambda c: (c / "new").mkdir(),
    "removed file": lambda c: (c / "src/deep/b.txt").unlink(),
    "removed directory": lambda c: shutil.rmtree(c / "src"),
    "renamed file": lambda c: (c / "a.txt").rename(c / "z.txt"),
    "renamed directory": lambda c: (c / "src").rename(c / "source"),
    "file instead of a directory": lambda c: (shutil.rmtree(c / "src"), (c / "src").write_text("")),
    "directory instead of a link": lambda c: ((c / "link").unlink(), (c / "link").mkdir()),
    "target of a link": lambda c: ((c / "link").unlink(), (c / "link").symlink_to("noise.log")),
    "ignored file instead of a directory": lambda c: (shutil.rmtree(c / "build"), (c / "build").touch()),
    "directory with an ignored file's name": lambda c: (
        (c / "noise.log").unlink(),
        (c / "noise.log").mkdir(),
    ),
    "hard link instead of a copy": lambda c: (
        (c / "src/deep/b.txt").unlink(),
        (c / "src/deep/b.txt").hardlink_to(c / "a.txt"),
    ),
    "special file": lambda c: os.mkfifo(c / "fifo"),
    "content with the old mtime": lambda c: (
        before := (c / "a.txt").stat(),
        (c / "a.txt").write_text("ten"),
        os.utime(c / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns)),
    ),
    "Dockerfile": lambda c: (c / "Dockerfile").write_text("FROM scratch\nCOPY a.txt /\n"),
    "ignore file": lambda c: (c / ".dockerignore").write_text("*.txt\nDockerfile\n"),
    "ignore file removed": lambda c: (c / ".dockerignore").unlink(),
    "ignore file of the Dockerfile": lambda c: (c / "Dockerfile.dockerignore").write_text("src\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_counts_ends_the_record(project, change):
    """After every change that may count the build is planned again, and comes to what it would anyway."""
    project.recorded()

    change(project.context)

    assert project.record() is None
    image, _ = project.build()
    project.forget()
    assert project.build()[0] == image


IGNORED = {
    "content of an ignored file": lambda c: (c / "noise.log").write_text("other"),
    "removed ignored file": lambda c: (c / "noise.log").unlink(),
    "file in an ignored directory": lambda c: (c / "build/dropped").write_text("other"),
    "access": lambda c: (c / "a.txt").read_bytes(),
}


@pytest.mark.parametrize("change", IGNORED.values(), ids=IGNORED)
def test_ignored_things_do_not_count(project, change):
    """What the ignore rules take away may change as it likes."""
    image = project.recorded()

    change(project.context)

    assert project.record() is not None
    project.forget()
    assert project.build()[0] == image


def test_each_of_many_directories_counts(project):
    """A record says of all directories what they held, however many there are."""
    for number in range(250):
        project.write(f"many/{number}/f", "x")
    image = project.recorded()
    for number in (0, 99, 100, 249):
        file = project.context / f"many/{number}/f"
        times = file.stat()
        file.chmod(0o600)
        assert project.record() is None
        file.chmod(0o644)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert project.recorded() == image


def test_only_what_was_looked_at_counts(project):
    """A COPY of one file does not look at the others."""
    project.write("Dockerfile", "FROM scratch\nCOPY src/deep/b.txt /b\n")
    project.recorded()
    (record,) = (project.root / "pybuild" / replay.FOLDER).iterdir()
    assert len(record.read_bytes().splitlines()) == 2  # digest and head, and nothing of directories

    project.write("a.txt", "other")
    project.write("src/new", "new")
    assert project.record() is not None

    project.write("src/deep/b.txt", "2")
    assert project.record() is None


def test_links_on_the_way_count(project):
    """A source that is named through a link hangs on the link."""
    (project.context / "way").symlink_to("src")
    project.write("other/deep/b.txt", "other")
    project.write("Dockerfile", "FROM scratch\nCOPY way/deep/b.txt /b\n")
    project.recorded()

    (project.context / "way").unlink()
    (project.context / "way").symlink_to("other")

    assert project.record() is None


@pytest.mark.parametrize(
    "flags",
    [
        ("--build-arg", "WORD=other"),
        ("--label", "a=b"),
        ("-t", "name:1"),
        ("--platform", "linux/s390x"),
        ("--network", "none"),
        ("--build-arg", "SOURCE_DATE_EPOCH=1700000000"),
        ("--no-cache",),
        ("--pull",),
    ],
    ids=" ".join,
)
def test_other_arguments_have_other_records(project, flags):
    """Every argument that can change the image, or what is asked for, asks for another record or for none."""
    project.recorded()

    assert project.record(*flags) is None


def test_arguments_that_only_report_share_a_record(project, tmp_path):
    """How a build is shown does not matter to it."""
    project.recorded()

    assert project.record("-q", "--iidfile", str(tmp_path / "id")) is not None


def test_the_environment_counts(project, monkeypatch):
    """Bare build arguments and SOURCE_DATE_EPOCH come from the environment."""
    monkeypatch.setenv("WORD", "one")
    project.flags = ["--build-arg", "WORD"]
    project.recorded()

    monkeypatch.setenv("WORD", "two")
    assert project.record() is None
    monkeypatch.setenv("WORD", "one")
    assert project.record() is not None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert project.record() is None


def test_a_tag_that_moved_ends_the_record(project):
    """A name of the image that stands for another one has to be set again."""
    project.flags = ["-t", "app:1"]
    image = project.recorded()
    other, _ = project.build("--label", "a=b")
    assert other != image

    assert project.record() is None
    assert project.build()[0] == image
    assert project.record() is not None


def test_names_of_others_do_not_count(project):
    """Records survive changes of names that they do not hang on."""
    project.flags = ["-t", "app:1"]
    project.recorded()
    main(["tag", "--root", str(project.root), "app:1", "other:1"])

    assert project.record() is not None


def test_names_that_other_tools_left_make_the_index_count_as_a_whole(project):
    """Names that only the image model can read are not read: the index must be the same, byte for byte."""
    project.flags = ["-t", "app:1"]
    project.recorded()
    path = project.root / "index.json"
    index = json.loads(path.read_text())
    entry = {**index["manifests"][0], "annotations": {"org.opencontainers.image.ref.name": "x"}}
    path.write_text(json.dumps({**index, "manifests": [*index["manifests"], entry]}))
    assert project.record() is None

    project.build()
    assert project.record() is not None
    path.write_text(path.read_text() + "\n")
    assert project.record() is None


def test_a_base_that_moved_ends_the_record(project):
    """The base image is the one that its name stands for now."""
    project.build("-t", "base:1")
    project.write("Dockerfile", "FROM base:1\nCOPY a.txt /other\n")
    image = project.recorded()

    project.build("-t", "unrelated:1")
    assert project.record() is not None

    project.write("Dockerfile.base", "FROM scratch\nCOPY src /src\n")
    project.build("-t", "base:1", "-f", str(project.context / "Dockerfile.base"))
    assert project.record() is None
    assert project.build()[0] != image


def test_a_blob_that_is_gone_ends_the_record(project):
    """Manifest, configuration and own layers have to be there."""
    image = project.recorded()
    for blob in (project.root / "blobs" / "sha256").iterdir():
        content = blob.read_bytes()
        blob.unlink()
        assert project.record() is None, blob
        blob.write_bytes(content)
        assert project.record() is not None

    blob.unlink()
    assert project.build()[0] == image


@pytest.mark.parametrize("damage", [b"", b"x", b"{}", b"0" * 64 + b"\n{}"])
def test_a_damaged_record_counts_as_none(project, damage):
    """A record that cannot be read is ignored, and made again."""
    image = project.recorded()
    (path,) = (project.root / "pybuild" / replay.FOLDER).iterdir()
    path.write_bytes(damage)

    assert project.record() is None
    assert project.build()[0] == image
    assert project.record() is not None


def test_a_record_that_was_cut_counts_as_none(project):
    """What it says of directories is as much a part of it as the rest."""
    project.recorded()
    (path,) = (project.root / "pybuild" / replay.FOLDER).iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    path.write_bytes(b"".join(lines[:2]))

    assert project.record() is None


def test_young_files_are_never_recorded(project, monkeypatch):
    """A file that changed less than two seconds ago may change again unseen."""
    monkeypatch.setattr(recorded, "RACY_NS", statcache.RACY_NS)
    project.build()
    project.build()
    assert project.record() is None

    time.sleep(statcache.RACY_NS / 1e9 + 0.1)
    project.build()
    assert project.record() is not None

    project.write("a.txt", "new")
    project.build()
    project.build()
    assert project.record() is None


def test_a_change_during_the_build_is_not_recorded(project, monkeypatch):
    """The stamps of a record are those that the plan saw, not those of the moment when it is written."""
    calls = []

    def key(args, inputs, environment):
        calls.append(1)
        if len(calls) == 2:  # asked again in order to record
            project.write("a.txt", "changed during the build")
        return record_key(args, inputs, environment)

    monkeypatch.setattr("builder.cli.verbs.build.record_key", key)
    project.build()

    assert len(calls) == 2
    assert len(list((project.root / "pybuild" / replay.FOLDER).iterdir())) == 1
    assert project.record() is None


def test_an_ignore_file_that_changes_during_the_build_prevents_a_record(project, monkeypatch):
    """The key of a record covers the rules that the build went by."""
    calls = []

    def key(args, inputs, environment):
        calls.append(1)
        if len(calls) == 2:
            project.write(".dockerignore", "src\n")
        return record_key(args, inputs, environment)

    monkeypatch.setattr("builder.cli.verbs.build.record_key", key)
    project.build()

    assert len(calls) == 2
    assert not (project.root / "pybuild" / replay.FOLDER).exists()


def test_records_are_bounded(project, monkeypatch):
    """The records that were used least recently go first."""
    monkeypatch.setattr(recorded, "MOST_RECORDS", 2)
    for number in range(3):
        project.recorded("--label", f"n={number}")
        assert project.record("--label", "n=0") is not None or number == 2

    assert project.record("--label", "n=2") is not None
    assert len(list((project.root / "pybuild" / replay.FOLDER).iterdir())) == 2


def test_pruning_removes_records(project):
    """When cached steps are forgotten, so are all records."""
    project.flags = ["-t", "app:1"]
    project.recorded()
    main(["prune", "--root", str(project.root), "--force"])
    assert project.record() is not None

    main(["prune", "--root", str(project.root), "--force", "--all", "--dry-run"])
    assert project.record() is not None

    main(["prune", "--root", str(project.root), "--force", "--all"])
    assert project.record() is None


def test_a_replay_is_a_use_of_its_steps(project):
    """Steps that are only ever replayed are not forgotten as unused."""
    project.flags = ["-t", "app:1"]
    project.recorded()
    state = str(project.root / "pybuild")
    (path,) = (project.root / "pybuild" / replay.FOLDER).iterdir()
    os.utime(path, (1, 1))
    assert set(recorded.last_uses(state).values()) == {1}

    project.build()

    assert all(when > time.time() - 60 for when in recorded.last_uses(state).values())


@pytest.mark.parametrize("kind", ["plain", "json", "quiet"])
def test_a_replay_tells_the_same(project, kind, tmp_path):
    """Standard output, progress, --iidfile and --metadata-file are those of a build that is all cached."""
    project.write("Dockerfile", "from scratch\nCOPY . /ä\nCMD echo\n")
    files = [tmp_path / "id", tmp_path / "metadata"]
    project.flags = ["--progress", kind, "-t", "app:1", "-t", "localhost:5000/x", "--build-arg", "UNUSED=1"]
    project.flags += ["--iidfile", str(files[0]), "--metadata-file", str(files[1])]
    project.build()
    project.forget()
    planned = [*project.build(), *(file.read_text() for file in files)]
    assert project.record() is not None
    for file in files:
        file.unlink()

    replayed = [*project.build(), *(file.read_text() for file in files)]

    assert replayed == planned
    assert ("UNUSED" in replayed[1]) == (kind != "quiet")
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}


@pytest.mark.parametrize("environment", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=str)
def test_a_replay_looks_the_same_on_a_terminal(project, environment):
    """The picture is the last one of the live display."""
    project.write(
        "Dockerfile",
        "FROM scratch\nCOPY a.txt /a\nCOPY a.txt /" + "long/" * 30 + "\nCOPY src /ä漢字\nCMD echo\n",
    )
    project.flags = ["--progress", "tty"]
    project.build()
    project.forget()
    time.sleep(statcache.RACY_NS / 1e9 + 0.1)  # this one runs in a process of its own
    planned = _on_a_terminal(project, environment)
    assert project.record() is not None

    replayed = _on_a_terminal(project, environment)

    assert "[+] Building 0.0s (4/4)" in replayed
    assert "…" in replayed
    assert "WARN: JSONArgsRecommended: " in replayed
    assert re.sub(r"\d+\.\ds \(", "0.0s (", planned) == replayed


def _on_a_terminal(project, environment):
    leader, follower = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "COLORTERM")}
    command = [sys.executable, "-m", "builder", *project.arguments()]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        cwd=ROOT,
        env={**kept, "COLUMNS": "70", **environment},
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while block := os.read(leader, 1 << 16):
                shown += block
        except OSError:  # how a terminal tells its end
            pass
    os.close(leader)
    assert process.returncode == 0, shown
    return shown.decode().replace("\x1b[?25l", "").replace("\x1b[?25h", "")


def test_the_read_side_sees_what_the_write_side_saw(project):
    """Both know the stamp of a file and the attributes that count, though one must not import the other."""
    assert (replay.STAMP.format, replay.INODE_BITS) == (statcache.STAMP.format, statcache.INODE_BITS)
    try:
        os.setxattr(project.context / "src", "user.note", b"x")
    except OSError:
        pytest.skip("this filesystem has no extended attributes")
    project.recorded()

    os.setxattr(project.context / "src", "user.note", b"y")

    assert project.record() is None


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_is_never_wrong(project, seed):
    """After any changes a call gives the image that planning it gives."""
    source = random.Random(seed)
    replays = 0
    for _ in range(12):
        for _ in range(source.randrange(3)):
            _mutate(project.context, source)
        time.sleep(0.02)
        answered = project.record()
        replays += answered is not None
        image, _ = project.build()
        project.forget()
        planned, _ = project.build()
        assert planned == image
        assert answered is None or answered["answer"]["id"] == planned
    assert 0 < replays < 12


def _mutate(context, source):
    """Change one thing at random, ignored things included."""
    folders = [
        context,
        *sorted(path for path in context.rglob("*") if path.is_dir() and not path.is_symlink()),
    ]
    things = sorted(path for path in context.rglob("*") if path.name not in ("Dockerfile", ".dockerignore"))
    folder, thing = source.choice(folders), source.choice([*things, context / "a.txt"])
    name = source.choice(["x", "y", "z.log", "build", "kept", "é"])
    target = folder / name
    kind = source.randrange(7)
    if kind == 0 and not target.is_dir():
        target.write_text(source.choice(["1", "2", "33"]))
    elif kind == 1 and not os.path.lexists(target):
        target.mkdir()
    elif kind == 2 and not os.path.lexists(target):
        target.symlink_to(source.choice(["a.txt", "x", "..", "none"]))
    elif kind == 3 and os.path.lexists(thing) and not thing.is_dir():
        thing.unlink()
    elif kind == 4 and thing.is_file() and not thing.is_symlink():
        thing.chmod(source.choice([0o600, 0o755]))
    elif kind == 5 and os.path.lexists(thing) and not os.path.lexists(target) and thing not in folders:
        thing.rename(target)
    elif thing.is_file() and not thing.is_symlink():
        thing.write_text(source.choice("abc"))


def test_arguments_that_are_not_in_the_key_only_report(project):
    """Each option of the verb is in the key, keeps a call from being replayed, or only says how to report."""
    in_key = {"tag", "build_arg", "target", "platform", "label", "network", "context", "file"}
    in_key |= {"add_host", "allow"}
    never = {"no_cache", "no_cache_filter", "pull", "push", "output", "plan", "call", "build_context"}
    never |= {"secret", "ssh", "shm_size", "ulimit", "cgroup_parent", "annotation", "squash"}
    never |= {"cache_from", "cache_to", "memory", "memory_swap", "cpu_shares", "cpu_period", "cpu_quota"}
    never |= {"cpuset_cpus", "cpuset_mems"}
    reports = {
        "progress",
        "iidfile",
        "metadata_file",
        "root",
        "compression",
        "help",
        "explain",
        "cache_limit",
    }

    options = {action.dest for action in parser()._actions if isinstance(action, argparse.Action)}

    assert options - in_key - never - reports == set()


def test_a_base_of_an_index_hangs_on_what_is_here(project):
    """When a better fitting manifest of an index arrives, the base may be another image."""
    project.build("-t", "one:1")
    project.build("-t", "two:1", "--label", "a=b")
    path = project.root / "index.json"
    document = json.loads(path.read_text())
    entries = document["manifests"]
    platform = {"os": "linux", "architecture": os.uname().machine.replace("x86_64", "amd64")}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {**{k: v for k, v in entry.items() if k != "annotations"}, "platform": platform}
            for entry in entries
        ],
    }
    raw = json.dumps(index).encode()
    digest = hashlib.sha256(raw).hexdigest()
    blobs = project.root / "blobs" / "sha256"
    (blobs / digest).write_bytes(raw)
    base = {"mediaType": index["mediaType"], "digest": f"sha256:{digest}", "size": len(raw)}
    base["annotations"] = {"io.containerd.image.name": "docker.io/library/base:1"}
    path.write_text(json.dumps({**document, "manifests": [*entries, base]}))
    first = blobs / entries[0]["digest"].removeprefix("sha256:")
    content = first.read_bytes()
    first.unlink()
    project.write("Dockerfile", "FROM base:1\nCOPY a.txt /other\n")
    image = project.recorded()

    first.write_bytes(content)

    assert project.record() is None
    assert project.build()[0] != image
