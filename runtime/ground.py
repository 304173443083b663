"""
What a sandbox stands on whatever will run in it: its own /proc, /dev and /sys, and a network that is up.

Runs in the child, in its own namespaces. Nothing here needs the root file system or the program, so a child
can make it before either is known and wait. It is built in a directory in memory and moved into the root
when that is there. It follows the part of a plan that `plan.ground_of` returns.
"""

import os
from typing import Any

from . import netlink, paths
from . import syscalls as sc
from .filesystems import Builder
from .rootmount import Scratch, operation

_PLACES = ("proc", "dev", "sys")
_WAITING_PLACE = "/proc/sys"
"""A directory of the host that no child needs, and nobody binds by this name."""


class Ground:
    """
    The file systems that every sandbox has, with what is hidden of them, still outside of its root.

    Methods raise `SetupProblem` for what the kernel refuses.
    """

    def __init__(self, needs: dict[str, Any]) -> None:
        with operation("make mounts private"):
            sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)
        self.scratch = Scratch()
        self.builder = Builder(needs, self.scratch)
        self._needs = needs
        self._area = -1

    def lay_ahead(self) -> None:
        """Make everything while the root is not known."""
        with operation(f"open {_WAITING_PLACE}"):
            anchor = os.open(_WAITING_PLACE, sc.O_PATH | os.O_DIRECTORY)
        self._lay(anchor)
        os.close(anchor)
        # A recursive bind of the host's /proc is not to show it.
        with operation("keep the file system in memory out of binds"):
            sc.mount_propagation(self.scratch.mount, sc.MS_UNBINDABLE)

    def lay(self, anchor: int) -> None:
        """Make what is not there yet; binds of the host are open by now, since this covers `anchor`."""
        if self._area < 0:
            self._lay(anchor)
            return
        with operation("let the file system in memory be bound"):
            sc.mount_propagation(self.scratch.mount, sc.MS_PRIVATE)

    def _lay(self, anchor: int) -> None:
        with operation("attach the file system in memory"):
            self.scratch.attach(anchor)
        self._area = self.builder.root = self.scratch.directory()
        for name in _PLACES:
            os.mkdir(name, 0o755, dir_fd=self._area)
        self.builder.fixed(self._needs["fixed"])
        if self._needs["cgroup_view"] is not None:
            self.builder.fixed([self._needs["cgroup_view"]])
        if self._needs["new_network"]:
            self._network()
        self.builder.hide(self._needs["masked"], self._needs["readonly"])

    def _network(self) -> None:
        """Bring up what the new network namespace needs, before /proc/sys becomes read-only."""
        with operation("bring the loopback interface up"):
            netlink.loopback_up()
        for name, value in self._needs["sysctls"]:
            # Opened below the descriptor of our own proc mount: a path could lead somewhere else by now.
            with operation(f"set {name}"):
                fd = os.open(f"sys/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.builder.proc)
                os.write(fd, value.encode())
                os.close(fd)

    def settle(self, root: int) -> None:
        """Move everything into the root, which has the places."""
        self.builder.root = root
        for mount in self._needs["fixed"]:
            with operation(f"mount {mount['kind'].lower()} on {mount['target']}"):
                fd = paths.open_in_root(self._area, mount["target"])
                self.builder.attach_fixed(fd, mount["target"])
                os.close(fd)
        os.close(self._area)
