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
    `single`: a user namespace in which only id 0 exists. `setgroups` tells whether groups may be set.
    """

    kind: MapKind
    size: int
    setgroups: bool

    def describe(self) -> str:
        """One line for people."""
        if self.kind == "root":
            return "the machine's own user ids"
        return f"a user namespace with {self.size} id{'s' if self.size > 1 else ''}"


def parse_id_map(uid_map: str, setgroups: str) -> IdMap:
    """Return the map from the text of /proc/self/uid_map and /proc/self/setgroups."""
    rows = [[int(field) for field in line.split()] for line in uid_map.splitlines() if line.strip()]
    size = sum(row[2] for row in rows)
    if rows == [[0, 0, _EVERY_ID]]:
        return IdMap(kind="root", size=_EVERY_ID, setgroups=True)
    allowed = setgroups.strip() != "deny"
    return IdMap(kind="single" if size <= 1 else "subid", size=size, setgroups=allowed)


def current_id_map() -> IdMap:
    """Return the map of this process."""
    with open("/proc/self/uid_map", encoding="ascii") as uid_map:
        text = uid_map.read()
    try:
        with open("/proc/self/setgroups", encoding="ascii") as setgroups:
            return parse_id_map(text, setgroups.read())
    except FileNotFoundError:
        return parse_id_map(text, "")
