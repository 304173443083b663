"""
Seconds that only pass while somebody could use the registry: for grace periods that a changed wall clock must
not cut short.

Invariants: the value never goes back and never jumps; it goes on over a restart of the process (of the same
boot of the machine), and stands still while the machine is off. Governing source: clock_gettime(2).
"""

from __future__ import annotations

from collections.abc import Callable

_BOOT = "/proc/sys/kernel/random/boot_id"


def boot_identifier() -> str:
    """What tells one boot of the machine from another one; empty where nothing tells."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class SteadyClock:
    """
    A clock that goes on where an earlier process left it.

    Args:
        clock: seconds that never jump since the boot.
        saved: what `save` returned in the earlier process; empty for none.
        boot: identifier of this boot.
    """

    def __init__(self, clock: Callable[[], float], saved: str, boot: str) -> None:
        self._clock = clock
        self._boot = boot
        self._offset = _offset(saved, boot, clock())

    def __call__(self) -> float:
        """Seconds since some moment in the past."""
        return self._clock() + self._offset

    def save(self) -> str:
        """The state for the next process."""
        return f"{self()!r} {self._clock()!r} {self._boot}"


def _offset(saved: str, boot: str, now: float) -> float:
    value, _, rest = saved.partition(" ")
    counter, _, earlier = rest.partition(" ")
    try:
        reached, then = float(value), float(counter)
    except ValueError:
        return 0.0
    if earlier == boot and boot and now >= then:
        return reached - then
    return reached - now
