"""
Capability names, numbers and sets.

Pure values and one reader of /proc/self/status; see capabilities(7). The default set is the one Docker
grants, so that a step sees the same mask whoever runs it.
"""

from collections.abc import Iterable

NUMBERS: dict[str, int] = {
    name: number
    for number, name in enumerate(
        (
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        )
    )
}

DEFAULT_CAPABILITIES: tuple[str, ...] = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)


def parse(name: str) -> str:
    """Return the canonical name (`cap_chown` gives `CHOWN`); raise `ValueError` for an unknown one."""
    canonical = name.upper().removeprefix("CAP_")
    if canonical not in NUMBERS:
        raise ValueError(f"unknown capability {name!r}")
    return canonical


def mask_of(names: Iterable[str]) -> int:
    """Return the bit mask of the capabilities named."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[parse(name)]
    return mask


def names_of(mask: int) -> tuple[str, ...]:
    """Return the names of the known capabilities in a mask, in numeric order."""
    return tuple(name for name, number in NUMBERS.items() if mask >> number & 1)


def bounding_mask(status: str) -> int:
    """Return the bounding set from the text of /proc/self/status; a set can only shrink below it."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0
