"""
The place where a benchmark works, and the certainty that nothing of it stays behind.

As root a script starts itself again in mount and network namespaces of its own: mounts, the bridge and the
packet filter rules of dockerd vanish with the last process, and no other daemon's rules slow anybody down.
File-heavy cases depend on the file system more than on the program, so `--loop-image` gives them a fresh
journaled ext4; its file is unlinked as soon as it is mounted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import machine

REPOSITORY = Path(__file__).resolve().parents[1]
_APART = "PYBUILD_BENCHMARK_APART"
# /sys/class/net shows the network namespace of whoever mounted /sys. The others hold what belongs to the
# bridges and leases of one network namespace, and buildah's memory of where blobs are.
_INSIDE = """
set -e
ip link set lo up
mount --rbind /sys/fs/cgroup /mnt
mount -t sysfs sysfs /sys
mount --move /mnt /sys/fs/cgroup
for state in /run/pybuild /var/lib/cni /var/lib/containers; do
    mkdir -p $state
    mount -t tmpfs tmpfs $state
done
exec "$@"
"""
_BYTES_PER_INODE = 8192


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    parser = argparse.ArgumentParser(description=(description or "").strip().splitlines()[0])
    parser.add_argument("--folder", help="where everything goes (default: a temporary folder)")
    parser.add_argument("--loop-image", metavar="SIZE", help="work on a fresh ext4 of this size, as in 60G")
    parser.add_argument("--scale", type=float, default=1.0, help="of all file counts and sizes")
    parser.add_argument("--runs", type=int, default=3, help="measurements per row and contender")
    parser.add_argument("--source", default=str(REPOSITORY), help="checkout of pybuild to measure")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs pybuild")
    parser.add_argument(
        "--touch-memory",
        metavar="GIB",
        type=float,
        default=0.0,
        help="of memory, used and freed before each measurement: for machines that give free memory away",
    )
    parser.add_argument("--output", help="append the Markdown to this file, too")
    parser.add_argument("--json", help="append all samples to this file")
    parser.add_argument("--no-header", action="store_true", help="leave the description of the machine out")
    return parser


def go_apart() -> None:
    """Start this program again in namespaces of its own, if we are root; let SIGTERM end it tidily."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if os.geteuid() != 0 or os.environ.get(_APART):
        return
    command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _INSIDE, "sh"]
    env = {**os.environ, _APART: "1", "PATH": machine.SYSTEM_PATH}
    os.execvpe("unshare", [*command, sys.executable, *sys.argv], env)


@contextlib.contextmanager
def workspace(folder: str | None, loop_image: str | None) -> Iterator[Path]:
    """An empty folder below `folder`, on a file system of its own if one is wanted; removed at the end."""
    if folder:
        os.makedirs(folder, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="pybuild-bench.", dir=folder))
    try:
        if loop_image:
            _mount_image(made, loop_image)
        os.chmod(made, 0o755)
        yield made
    finally:
        unmount_below(made)
        shutil.rmtree(made, ignore_errors=True)


def _mount_image(place: Path, size: str) -> None:
    image = Path(f"{place}.img")
    try:
        subprocess.run(["truncate", "--size", size, image], check=True)
        make = ["mkfs.ext4", "-q", "-F", "-i", str(_BYTES_PER_INODE), "-E", "lazy_itable_init=0", image]
        subprocess.run(make, env={**os.environ, "PATH": machine.SYSTEM_PATH}, check=True)
        subprocess.run(["mount", "-o", "loop,noatime", image, place], check=True)
    finally:
        image.unlink(missing_ok=True)


def unmount_below(place: Path) -> None:
    """Unmount whatever is mounted at or below a folder, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for target in reversed([line.split()[4] for line in lines]):
        if target == str(place) or target.startswith(f"{place}/"):
            subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
