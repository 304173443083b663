"""
Why programs for another processor do not run: what can be seen of the kernel's handlers in binfmt_misc.

Nothing is decided by it, because a handler works wherever its list is not mounted, too. A handler with the
flag F has its interpreter open already; without it the interpreter is looked for inside the sandbox.
Governing text: Linux Documentation/admin-guide/binfmt-misc.rst; the ELF specification.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

HANDLERS = "/proc/sys/fs/binfmt_misc"
"""Where the kernel lists its handlers, if somebody mounted that."""

_MACHINES: dict[str, tuple[int, int, Literal["little", "big"]]] = {
    "386": (3, 1, "little"),
    "amd64": (62, 2, "little"),
    "arm": (40, 1, "little"),
    "arm64": (183, 2, "little"),
    "loong64": (258, 2, "little"),
    "mips": (8, 1, "big"),
    "mips64": (8, 2, "big"),
    "mips64le": (8, 2, "little"),
    "mipsle": (8, 1, "little"),
    "ppc64": (21, 2, "big"),
    "ppc64le": (21, 2, "little"),
    "riscv64": (243, 2, "little"),
    "s390x": (22, 2, "big"),
}
"""ELF machine, class (1 is 32 bit) and byte order of each architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One handler of binfmt_misc."""

    name: str
    interpreter: str
    enabled: bool
    flags: str = ""
    offset: int = 0
    magic: bytes = b""
    mask: bytes = b""

    def takes(self, start: bytes) -> bool:
        """Whether a file that starts like this is given to the interpreter."""
        found = start[self.offset : self.offset + len(self.magic)]
        mask = self.mask or b"\xff" * len(self.magic)
        return bool(self.magic) and bytes(map(int.__and__, found, mask)) == bytes(
            map(int.__and__, self.magic, mask)
        )


def missing_part(architecture: str, handlers: str = HANDLERS) -> str:
    """
    What the kernel lacks to run programs for an architecture, which were seen not to run.

    Args:
        architecture: as images call it.
        handlers: where the list of handlers is mounted.
    """
    nothing = f"the kernel has no handler for {architecture} in binfmt_misc"
    try:
        if _text(os.path.join(handlers, "status")).strip() != "enabled":
            return "binfmt_misc is switched off"
        found = read_handlers(handlers)
    except OSError:
        return nothing
    start = program_start(architecture)
    for handler in found:
        if start is None or not handler.takes(start):
            continue
        if not handler.enabled:
            return f"the handler {handler.name} in binfmt_misc is switched off"
        if "F" not in handler.flags:
            return (
                f"the handler {handler.name} in binfmt_misc has no flag F, "
                f"so its interpreter {handler.interpreter} would have to be in the image"
            )
        return f"the handler {handler.name} in binfmt_misc could not run the program"
    return nothing


def read_handlers(folder: str = HANDLERS) -> list[Handler]:
    """
    The handlers that can be seen.

    Raises:
        OSError: the list is not mounted.
    """
    return [
        parse_handler(name, _text(os.path.join(folder, name)))
        for name in sorted(os.listdir(folder))
        if name not in ("register", "status")
    ]


def parse_handler(name: str, text: str) -> Handler:
    """A handler as the kernel shows it; a line that is not understood is passed over."""
    lines = text.splitlines()
    values = dict(_pair(line) for line in lines[1:])
    return Handler(
        name=name,
        interpreter=values.get("interpreter", ""),
        enabled=lines[:1] == ["enabled"],
        flags=values.get("flags", ""),
        offset=int(values.get("offset", "0") or "0"),
        magic=bytes.fromhex(values.get("magic", "")),
        mask=bytes.fromhex(values.get("mask", "")),
    )


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(" ")
    return key.rstrip(":"), value.strip()


def program_start(architecture: str) -> bytes | None:
    """The first bytes of a program for an architecture; None for one that is not known."""
    known = _MACHINES.get(architecture)
    if known is None:
        return None
    machine, size, order = known
    head = bytes((0x7F, *b"ELF", size, 1 if order == "little" else 2, 1)) + bytes(9)
    return head + (2).to_bytes(2, order) + machine.to_bytes(2, order)


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as stream:
        return stream.read()
