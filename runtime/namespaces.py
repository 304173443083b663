"""
Which user namespace this process is in, and what that means for sandboxes.

Reads two files of /proc, changes nothing. See user_namespaces(7).
"""

from dataclasses import dataclass
from typing import Literal

MapKind = Literal["root", "subid", "single"]
_EVERY_ID = 4294967295


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """
    How ids here relate to ids of the machine.

    `root`: the machine's own ids. `subid`: a user namespace with a range of ids, as from /etc/subuid.
    `single`: a user namespace in which only id 0 exists. `size` and `groups` count user and group ids;
    `setgroups` tells whether groups may be set.
    """

    kind: MapKind
    size: int
    groups: int
    setgroups: bool

    def describe(self) -> str:
        """One line for people."""
        if self.kind == "root":
            return "the machine's own user ids"
        return f"a user namespace with {self.size} id{'s' if self.size > 1 else ''}"


def _rows(text: str) -> list[list[int]]:
    return [[int(field) for field in line.split()] for line in text.splitlines() if line.strip()]


def parse_id_map(uid_map: str, gid_map: str, setgroups: str) -> IdMap:
    """Return the map from the texts of /proc/self/uid_map, gid_map and setgroups."""
    rows = _rows(uid_map)
    size = sum(row[2] for row in rows)
    groups = sum(row[2] for row in _rows(gid_map))
    if rows == [[0, 0, _EVERY_ID]]:
        return IdMap(kind="root", size=size, groups=groups, setgroups=True)
    allowed = setgroups.strip() != "deny"
    return IdMap(kind="single" if size <= 1 else "subid", size=size, groups=groups, setgroups=allowed)


def current_id_map() -> IdMap:
    """Return the map of this process."""
    texts = []
    for name in ("uid_map", "gid_map", "setgroups"):
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            texts.append(file.read())
    return parse_id_map(*texts)
