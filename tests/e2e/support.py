"""
What the end-to-end tests drive: the real command line, real base images, our registry.

What is missing on a machine skips a test with the reason, unless PYBUILD_REQUIRE names it (as continuous
integration does): then it fails.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {word for word in os.environ.get("PYBUILD_REQUIRE", "").split(",") if word}


def missing(what, reason):
    """Skip, or fail where `what` is required."""
    if what in REQUIRED:
        pytest.fail(f"{reason} (PYBUILD_REQUIRE asks for {what})")
    pytest.skip(reason)


def need(*tools, what="clients"):
    """The paths of programs that a test drives."""
    paths = []
    for tool in tools:
        path = shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if path is None:
            missing(what, f"{tool} is not installed")
        paths.append(path)
    return paths[0] if len(paths) == 1 else paths


def free_port():
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=30.0):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


@dataclass
class Pybuild:
    """The command line over one store."""

    root: Path
    python: str = sys.executable
    env: dict | None = None

    def start(self, *args, **kwargs):
        """Start it and return the process."""
        env = {**os.environ, "PYBUILD_ROOT": str(self.root), "PYTHONPATH": str(ROOT), **(self.env or {})}
        env.update(kwargs.pop("env", {}))
        env.pop("SOURCE_DATE_EPOCH", None) if "SOURCE_DATE_EPOCH" not in kwargs else None
        return subprocess.Popen(
            [self.python, "-m", "builder", *map(str, args)],
            env=env,
            stdin=kwargs.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **kwargs,
        )

    def __call__(self, *args, check=True, input=None, **kwargs):  # noqa: A002 - subprocess's name
        if input is not None:
            kwargs["stdin"] = subprocess.PIPE
        process = self.start(*args, **kwargs)
        out, err = process.communicate(input, timeout=300)
        done = subprocess.CompletedProcess(args, process.returncode, out.decode(), err.decode())
        if check:
            assert done.returncode == 0, f"pybuild {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
        return done

    def build(self, context, *args, **kwargs):
        """Build a context with plain progress."""
        return self("--progress", "plain", *args, context, **kwargs)

    def image(self, name):
        """What inspect says."""
        return json.loads(self("inspect", name).stdout)[0]


def make_base(kind, pybuild, archives, name=None):
    """Import a base image into the store by the script that users run."""
    need({"busybox": "busybox", "debian": "mmdebstrap"}[kind])
    script = ROOT / "testdata" / "bases" / "make-base"
    with open(archives / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it is made once, by whichever process comes first
        subprocess.run(
            [script, kind, *([name] if name else [])],
            check=True,
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin:/bin",
                "BASES": str(archives),
                "PYBUILD": f"{pybuild.python} -m builder",
                "PYTHONPATH": str(ROOT),
                "PYBUILD_ROOT": str(pybuild.root),
            },
        )


@dataclass
class Server:
    """A registry on loopback."""

    process: subprocess.Popen
    port: int
    root: Path

    @property
    def name(self):
        """Host and port as names of images begin with them."""
        return f"127.0.0.1:{self.port}"

    def get(self, path):
        """The body of a GET."""
        with urllib.request.urlopen(f"http://{self.name}{path}", timeout=30) as answer:
            return answer.read()

    def stop(self):
        """End it as an administrator would."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


def start_registry(root, *args):
    """Our registry in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "registry", "--listen", f"127.0.0.1:{port}", "--root", root, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    assert b"serving" in process.stderr.readline()
    return Server(process, port, Path(root))
