"""
The builders that are measured: pybuild, and whatever peers are installed.

Each runs as a client command over a store of its own below the working folder. dockerd is started here, with
its own bridge, and ended by its process number; its processor time and memory count as the builder's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import machine
import measuring

BASE = "localhost/busybox:bench"
IMAGE = "bench:latest"
PACKAGES = ("builder", "registry", "runtime", "dockerfile_grammar", "oci_image")
_DAEMON_START_SECONDS = 60


def run(command: list[str], env: dict[str, str], *, check: bool = True, inherit: bool = True) -> None:
    """Run a command that is not measured."""
    whole = {**os.environ, **env} if inherit else env
    done = subprocess.run(command, env=whole, check=False, capture_output=True, text=True, errors="replace")
    if check and done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")


@dataclass
class Contender:
    """One builder: how to build, push and pull, how to forget everything but the base image, its daemons."""

    name: str
    build_command: list[str]
    push_command: Callable[[str], list[str]]
    pull_command: Callable[[str], list[str]]
    tag_command: list[str]
    forget: Callable[[], None]
    env: dict[str, str] = field(default_factory=dict)
    daemons: list[int] = field(default_factory=list)
    inherit: bool = True

    def build(self, context: Path, *, network: str | None = None) -> list[str]:
        """The command of one build."""
        flags = ["--network", network] if network else []
        return [*self.build_command, *flags, "-t", IMAGE, str(context)]

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the client."""
        return {**(os.environ if self.inherit else {}), "PATH": machine.SYSTEM_PATH, **self.env}


def install(folder: Path, source: Path, python: str) -> Path:
    """
    Copy and compile pybuild's packages as pip does, and return the folder that holds them.

    What is measured stays the same however the checkout changes meanwhile.
    """
    target = folder / "installed"
    for package in PACKAGES:
        shutil.copytree(source / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "bin").mkdir()
    (target / "bin" / "pybuild").write_text("from builder.cli.main import entry\n\nentry()\n")
    run([python, "-m", "compileall", "-q", "-j", "0", str(target)], {})
    return target


def own_command(installed: Path, python: str) -> list[str]:
    """The start of our own commands, a script as pip writes it."""
    return [python, str(installed / "bin" / "pybuild")]


def own_environment(installed: Path) -> dict[str, str]:
    """The environment of our own processes: an installation, with Python's ordinary settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, "PATH": machine.SYSTEM_PATH, "PYTHONPATH": str(installed)}


def pybuild(folder: Path, python: str, archive: Path, *, compression: str = "") -> Contender:
    """Ourselves, as an ordinary installation starts us; cold means a new store with the base image."""
    name = f"pybuild {compression}".strip()
    store = folder / name.replace(" ", "-")
    command = own_command(folder / "installed", python)
    env = {**own_environment(folder / "installed"), "PYBUILD_ROOT": str(store)}
    form = ["--compression", compression] if compression else []

    def forget() -> None:
        shutil.rmtree(store, ignore_errors=True)
        run([*command, "import", str(archive), BASE], env, inherit=False)

    forget()
    return Contender(
        name,
        [*command, "--progress", "plain"],
        lambda target: [*command, "push", *form, target],
        lambda target: [*command, "pull", target],
        [*command, "tag"],
        forget,
        env,
        inherit=False,
    )


def buildah(folder: Path, archive: Path) -> Contender:
    """Buildah with runc and layers, as ``docker build`` caches."""
    storage = folder / "buildah"
    storage.mkdir(parents=True, exist_ok=True)
    (storage / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}/root"\nrunroot = "{storage}/run"\n'
    )
    # Debian 12's crun refuses machines that mount both versions of control groups.
    (storage / "containers.conf").write_text(
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (storage / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {
        "CONTAINERS_STORAGE_CONF": str(storage / "storage.conf"),
        "CONTAINERS_CONF": str(storage / "containers.conf"),
    }
    policy = ["--signature-policy", str(storage / "policy.json")]
    script = (
        'c=$(buildah from scratch) && buildah add -q $c "$0" / && '
        'buildah config --cmd sh $c && buildah commit -q $c "$1" && buildah rm $c'
    )
    whole = {"PATH": machine.SYSTEM_PATH, **env}

    def forget() -> None:
        listed = subprocess.run(
            ["buildah", "images", "--format", "{{.ID}} {{.Name}}", "--all"],
            env={**os.environ, **whole},
            check=True,
            capture_output=True,
            text=True,
        )
        images = [line.split()[0] for line in listed.stdout.splitlines() if "busybox" not in line]
        run(["buildah", "rm", "--all"], whole, check=False)
        for image in dict.fromkeys(images):
            run(["buildah", "rmi", "--force", image], whole, check=False)

    run(["sh", "-c", script, str(archive), BASE], whole)
    return Contender(
        "buildah",
        ["buildah", *("build", "--layers", "--jobs", "4", "--tls-verify=false"), *policy],
        lambda target: ["buildah", "push", "--quiet", "--tls-verify=false", *policy, target],
        lambda target: ["buildah", "pull", "--quiet", "--tls-verify=false", *policy, target],
        ["buildah", "tag"],
        forget,
        env,
    )


class Dockerd:
    """A daemon of our own with a bridge of its own; containers are charged to the given control group."""

    def __init__(self, folder: Path, group: str, number: int = 0) -> None:
        self.folder = folder / f"docker{number}"
        self.socket = f"unix://{self.folder}/docker.sock"
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None
        self._bridge = f"pbbench{number}"
        self._address = f"172.29.{7 + number}.1/24"

    @property
    def client(self) -> list[str]:
        """The start of every client command."""
        return ["/usr/bin/docker", "--host", self.socket, "--config", str(self.folder / "config")]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for line in (
            f"ip link add {self._bridge} type bridge",
            f"ip address add {self._address} dev {self._bridge}",
            f"ip link set {self._bridge} up",
        ):
            run(line.split(), {"PATH": machine.SYSTEM_PATH})
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec"),
                    *("--pidfile", self.folder / "pid", "--host", self.socket, "--bridge", self._bridge),
                    *("--storage-driver", "overlay2", "--log-level", "warn"),
                    *(("--cgroup-parent", self._group) if self._group else ()),
                ],
                env={**os.environ, "PATH": machine.SYSTEM_PATH},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _DAEMON_START_SECONDS
        while subprocess.run([*self.client, "version"], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise SystemExit((self.folder / "log").read_text()[-3000:])
            time.sleep(0.1)

    def family(self) -> list[int]:
        """The daemon and the processes it started."""
        return measuring.family(self._process.pid) if self._process is not None else []

    def stop(self) -> None:
        """End it and remove the bridge."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        run(["ip", "link", "delete", self._bridge], {"PATH": machine.SYSTEM_PATH}, check=False)


def docker(daemon: Dockerd, archive: Path, *, buildkit: bool) -> Contender:
    """Docker build, by BuildKit or by the classic builder."""
    client = daemon.client

    def forget() -> None:
        done = subprocess.run(
            [*client, "images", "--format", "{{.Repository}}:{{.Tag}}"],
            check=True,
            capture_output=True,
            text=True,
        )
        for name in done.stdout.split():
            if name != BASE and "<none>" not in name:
                run([*client, "rmi", "--force", name], {}, check=False)
        run([*client, "builder", "prune", "--all", "--force"], {})
        run([*client, "image", "prune", "--force"], {})

    run([*client, "import", "--change", 'CMD ["sh"]', str(archive), BASE], {})
    return Contender(
        "buildkit" if buildkit else "classic",
        [*client, "build"],
        lambda target: [*client, "push", "--quiet", target],
        lambda target: [*client, "pull", "--quiet", target],
        [*client, "tag"],
        forget,
        {"DOCKER_BUILDKIT": "1" if buildkit else "0"},
        daemon.family(),
    )


def base_archive(folder: Path, source: Path) -> Path:
    """Make the base image's archive, the same for everybody."""
    script = source / "testdata" / "bases" / "make-base"
    run([str(script), "busybox", BASE], {"BASES": str(folder / "bases"), "PYBUILD": "true"})
    return folder / "bases" / "busybox.tar"
