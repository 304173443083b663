"""Real clients in folders of their own: dockerd with its command line, podman, skopeo, umoci."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.e2e.support import need

QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def run(*command, check=True, **kwargs):
    """Run a client; its output is part of the failure."""
    done = subprocess.run([str(word) for word in command], check=False, **{**QUIET, **kwargs})
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


class Docker:
    """A dockerd of our own, with further flags, and the command line of its package."""

    def __init__(self, folder, *flags):
        self.folder = Path(folder)
        self.flags = flags
        # Sockets must have short names.
        self.short = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/tmp"))
        self.socket = self.short / "docker.sock"
        self.dockerd = need("dockerd")
        self.docker = "/usr/bin/docker"
        self.process = None

    def start(self):
        """Start the daemon and wait until it answers."""
        self.log = (self.folder / "dockerd.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(self.dockerd, "--data-root", self.folder / "data", "--exec-root", self.short / "exec"),
                *("--pidfile", self.folder / "pid", "--host", f"unix://{self.socket}"),
                *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"),
                *("--storage-driver=overlay2", *self.flags),
            ],
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
        )
        for _ in range(300):
            if self("version", check=False).returncode == 0:
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.log.close()
        raise AssertionError((self.folder / "dockerd.log").read_text()[-3000:])

    def __call__(self, *args, **kwargs):
        return run(
            self.docker,
            "--host",
            f"unix://{self.socket}",
            "--config",
            self.folder / "config",
            *args,
            **kwargs,
        )

    def stop(self):
        """End the daemon and everything it mounted."""
        self.process.terminate()
        self.process.wait(60)
        self.log.close()
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        # It leaves the mount of its host network namespace behind, and the folder could not be removed.
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for place in [line.split()[1] for line in mounts]:
            if place.startswith((str(self.folder), str(self.short))):
                run("umount", "--lazy", place, check=False)
        shutil.rmtree(self.short, ignore_errors=True)


class Podman:
    """podman with stores of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.podman = need("podman")
        config = self.folder / "containers.conf"
        config.write_text(
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            "[containers]\ndefault_ulimits = []\n"
        )
        policy = self.folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env = {**os.environ, "CONTAINERS_CONF": str(config), "XDG_RUNTIME_DIR": str(self.folder)}
        # podman refuses paths of more than 50 characters here.
        self.run = tempfile.mkdtemp(prefix="podman.", dir="/tmp")

    def __call__(self, *args, **kwargs):
        stores = ("--root", self.folder / "root", "--runroot", self.run, "--storage-driver", "vfs")
        return run(self.podman, *stores, *args, env=self.env, **kwargs)


def skopeo(*args, **kwargs):
    """skopeo, trusting everything and speaking plain HTTP where it must."""
    return run(need("skopeo"), "--insecure-policy", *args, **kwargs)


def umoci(*args, **kwargs):
    """umoci."""
    return run(need("umoci"), *args, **kwargs)
