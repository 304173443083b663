"""What a call of pybuild may have left behind: processes, groups, mounts, interfaces, half-written files."""

import glob
import hashlib
import os
from contextlib import suppress
from pathlib import Path


def processes(word):
    """Process ids whose command line holds a word."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(int(name))
    return found


def control_groups(pid):
    """The control groups that a process made for its sandboxes."""
    return sorted(glob.glob(f"/sys/fs/cgroup/**/pybuild/{pid}-*", recursive=True))


def mounts(root):
    """Mounts of the machine that have to do with a store."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]


def interface(index):
    """The name of the network interface with an index, or None."""
    for folder in Path("/sys/class/net").iterdir():
        with suppress(OSError):  # it may go meanwhile
            if (folder / "ifindex").read_text().strip() == str(index):
                return folder.name
    return None


def temporary(root):
    """What lies in the folder for temporary files of a store."""
    folder = Path(root) / "pybuild" / "tmp"
    return sorted(os.listdir(folder)) if folder.exists() else []


def broken_blobs(root):
    """Blobs of a store that are not what their names say."""
    folder = Path(root) / "blobs" / "sha256"
    found = folder.iterdir() if folder.exists() else []
    return [path.name for path in found if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
