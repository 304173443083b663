"""
The registry servers that are measured: `pybuild registry` and Debian's docker-registry (distribution).

Both serve plain HTTP on a free port of 127.0.0.1 from an empty directory, without users and access log, and
are ended by their process number.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import contenders
import load
import machine
import measuring

_START_SECONDS = 30
_CONFIGURATION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
"""
_CERTIFICATE = (
    "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=localhost"
)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One registry server; its directory is removed at each stop."""

    name: str
    folder: Path
    installed: Path
    python: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> load.Address:
        """Where it listens."""
        return ("127.0.0.1", self.port)

    @property
    def host(self) -> str:
        """The registry part of image names."""
        return f"127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        """Where its content is."""
        return self.folder / self.name

    def start(self, *, tls: bool = False, settings: Mapping[str, str] | None = None) -> float:
        """Start it, ours with some variables in its environment; the seconds until the first answer."""
        root = self.root
        root.mkdir(parents=True, exist_ok=True)
        pair = self._certificate() if tls else ()
        env = {**os.environ, "PATH": machine.SYSTEM_PATH}
        if self.name == "pybuild":
            command = contenders.own_command(self.installed, self.python)
            command += ["registry", "--listen", self.host, "--root", str(root)]
            command += ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1])] if pair else []
            env = {**contenders.own_environment(self.installed), **(settings or {})}
        else:
            written = self.folder / f"{self.name}.yml"
            secret = f", tls: {{certificate: {pair[0]}, key: {pair[1]}}}" if pair else ""
            written.write_text(_CONFIGURATION.format(root=root, port=self.port, tls=secret))
            command = ["docker-registry", "serve", str(written)]
        started = time.perf_counter()
        with (self.folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        while not self._answers(encrypted=tls):
            if self.process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                raise SystemExit((self.folder / f"{self.name}.log").read_text()[-3000:])
            time.sleep(0.002)
        return time.perf_counter() - started

    def _certificate(self) -> tuple[Path, Path]:
        pair = (self.folder / "certificate.pem", self.folder / "key.pem")
        if not pair[0].exists():
            files = ["-out", str(pair[0]), "-keyout", str(pair[1])]
            subprocess.run([*_CERTIFICATE.split(), *files], check=True, capture_output=True)
        return pair

    def _answers(self, *, encrypted: bool) -> bool:
        try:
            with load.Connection(self.address, encrypted=encrypted) as connection:
                return connection.request("GET", "/v2/").status == 200
        except OSError:
            return False

    def family(self) -> list[int]:
        """The processes of the server."""
        return measuring.family(self.process.pid) if self.process is not None else []

    def cpu(self) -> float:
        """Processor seconds so far."""
        return measuring.cpu_of(self.family())

    def halt(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it and remove what it holds."""
        self.halt()
        shutil.rmtree(self.root, ignore_errors=True)

    def restart(self, *, tls: bool = False, settings: Mapping[str, str] | None = None) -> float:
        """Start again with nothing; the seconds until the first answer."""
        self.stop()
        return self.start(tls=tls, settings=settings)


def available(names: list[str], folder: Path, installed: Path, python: str) -> list[Server]:
    """The servers that are wanted and installed, not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Server(name, folder, installed, python)
        for name in names
        if name == "pybuild" or machine.installed("docker-registry")
    ]
