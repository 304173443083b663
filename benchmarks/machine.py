"""
What a run was measured on: machine, file system, Python, the versions of the peers, and how busy it was.

Every table is printed below such a description, because its figures mean nothing without one.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

_VERSIONS = {
    "dockerd": ["dockerd", "--version"],
    "docker (command line)": ["/usr/bin/docker", "--version"],
    "buildah": ["buildah", "--version"],
    "runc": ["runc", "--version"],
    "skopeo": ["skopeo", "--version"],
    "docker-registry": ["docker-registry", "--version"],
}


def installed(program: str) -> bool:
    """Whether a program is here."""
    return shutil.which(program, path=SYSTEM_PATH) is not None


def version(command: list[str]) -> str:
    """The first line that a program says about itself, or nothing when it isn't installed."""
    if not installed(command[0]):
        return ""
    done = subprocess.run(
        command, env={**os.environ, "PATH": SYSTEM_PATH}, check=False, capture_output=True, text=True
    )
    found = re.search(r"v?\d+\.\d+[^\s,]*", done.stdout)
    return found[0] if found else "?"


def processor() -> str:
    """The model of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory() -> str:
    """The memory in GiB."""
    total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return f"{int(total[1]) / 1024**2:.0f} GiB" if total else "?"


def distribution() -> str:
    """The name of the distribution."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "?"


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    place, kind = "", "?"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target, found = line.split()[1:3]
        if len(target) >= len(place) and f"{folder}/".startswith(f"{target.rstrip('/')}/"):
            place, kind = target, found
    if kind == "ext4":
        device = os.stat(folder).st_dev
        name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        return f"ext4, {'with' if os.path.exists(f'/proc/fs/jbd2/{name}-8') else 'without'} a journal"
    return kind


def revision(source: Path) -> str:
    """The commit that is measured, where the sources are a checkout."""
    command = ["git", "-C", source, "describe", "--always", "--dirty"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "?"


def busy() -> str:
    """How much else goes on: load, and the share of 5 minutes in which somebody waited for a processor."""
    load = os.getloadavg()[0]
    try:
        found = re.search(r"some .*avg300=([\d.]+)", Path("/proc/pressure/cpu").read_text())
    except OSError:
        found = None
    return f"load {load:.1f}" + (f", processor pressure {found[1]} %" if found else "")


def describe(folder: Path, source: Path) -> str:
    """The description as a Markdown table."""
    rows = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{os.cpu_count()} x {processor()}",
        "memory": memory(),
        "system": f"{distribution()}, Linux {platform.release()}",
        "file system of the data": file_system(folder),
        "pybuild": revision(source),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version(command) for name, command in _VERSIONS.items()},
        "at the start": busy(),
    }
    lines = [f"| {name} | {value or 'not installed'} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def emit(text: str, output: str | None) -> None:
    """Print, and append to the file if one is wanted."""
    print(text, flush=True)
    if output:
        with open(output, "a", encoding="utf-8") as out:
            out.write(text + "\n")


def progress(text: str) -> None:
    """Say what goes on, apart from the results."""
    print(f"# {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
