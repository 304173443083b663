"""
The builders that are measured: pybuild, and whatever peers are installed.

Each runs as a client command over a store of its own below the working folder. dockerd is started here, with
its own bridge, and ended; its processor time and memory count as the builder's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
BRIDGE = "pbbench0"


@dataclass
class Contender:
    """One builder: how to build, how to forget everything cached, and which daemons work for it."""

    name: str
    command: list[str]
    clean: list[list[str]]
    load_base: list[str]
    env: dict[str, str] = field(default_factory=dict)
    daemons: list[int] = field(default_factory=list)

    def build(self, context: Path, *, network: str | None) -> list[str]:
        """The command of one build."""
        flags = ["--network", network] if network else []
        return [*self.command, *flags, "-t", "bench:latest", str(context)]

    def forget(self) -> None:
        """Remove all cached results, not the base image."""
        for command in self.clean:
            subprocess.run(command, env={**os.environ, **self.env}, check=False, capture_output=True)


def pybuild(folder: Path) -> Contender:
    """Ourselves, as an ordinary installation starts us."""
    command = [sys.executable, "-m", "builder"]
    env = {"PYBUILD_ROOT": str(folder / "pybuild"), "PYTHONPATH": str(REPOSITORY)}
    return Contender(
        "pybuild",
        [*command, "--progress", "plain"],
        [[*command, "rmi", "-f", "bench:latest"], [*command, "prune", "--all", "--force"]],
        [*command, "import"],
        env,
    )


def buildah(folder: Path) -> Contender:
    """Buildah with runc and layers, as ``docker build`` caches."""
    storage = folder / "buildah"
    storage.mkdir(parents=True, exist_ok=True)
    config = storage / "storage.conf"
    config.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}/root"\nrunroot = "{storage}/run"\n'
    )
    conf = storage / "containers.conf"
    conf.write_text('[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
    env = {"CONTAINERS_STORAGE_CONF": str(config), "CONTAINERS_CONF": str(conf)}
    script = 'c=$(buildah from scratch) && buildah add $c "$0" / && buildah commit $c "$1" && buildah rm $c'
    return Contender(
        "buildah",
        ["buildah", "build", "--layers", "--jobs", "4"],
        [["buildah", "rmi", "-f", "bench:latest"], ["buildah", "rmi", "--prune", "-f"]],
        ["sh", "-c", script],
        env,
    )


class Dockerd:
    """A daemon of our own with a bridge of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "docker"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = f"unix://{self.folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> list[int]:
        """Start it and return the processes that work for it."""
        shell = (
            f"ip link show {BRIDGE} >/dev/null 2>&1 || "
            f"(ip link add {BRIDGE} type bridge && ip addr add 172.29.7.1/24 dev {BRIDGE} && "
            f"ip link set {BRIDGE} up)"
        )
        subprocess.run(["sh", "-c", shell], check=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec"),
                    *("--pidfile", self.folder / "pid", "-H", self.socket, "--bridge", BRIDGE),
                    "--storage-driver=overlay2",
                ],
                stdout=log,
                stderr=log,
            )
        for _ in range(300):
            done = subprocess.run(
                ["/usr/bin/docker", "-H", self.socket, "version"], check=False, capture_output=True
            )
            if done.returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise SystemExit((self.folder / "log").read_text()[-2000:])
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def stop(self) -> None:
        """End it and remove the bridge."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)


def docker(folder: Path, daemon: Dockerd, daemons: list[int], *, buildkit: bool) -> Contender:
    """Docker build, by BuildKit or by the classic builder."""
    del folder
    base = ["/usr/bin/docker", "-H", daemon.socket]
    return Contender(
        "buildkit" if buildkit else "classic",
        [*base, "build"],
        [
            [*base, "rmi", "-f", "bench:latest"],
            [*base, "builder", "prune", "-af"],
            [*base, "image", "prune", "-f"],
        ],
        [*base, "import"],
        {"DOCKER_BUILDKIT": "1" if buildkit else "0"},
        daemons,
    )


def installed(program: str) -> bool:
    """Whether a program is here."""
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is not None
