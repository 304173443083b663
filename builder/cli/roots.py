"""
Which version this is and where the store is: what every call needs before anything heavy is imported.

Takes the environment as a value; `settings` holds everything else that it decides.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    from collections.abc import Mapping

VERSION = "0.1.0"
USER_NAMESPACE = "PYBUILD_USERNS"
"""Set by `runtime.userns` for the second execution inside a user namespace (its MARK)."""


def store_root(flag: str | None, env: Mapping[str, str]) -> str:
    """The store to use: the value of ``--root`` if given, PYBUILD_ROOT, or the user's own."""
    return os.path.abspath(flag or env.get("PYBUILD_ROOT") or default_root(env))


def default_root(env: Mapping[str, str]) -> str:
    """The store of the user: system wide for root, below XDG_DATA_HOME for everybody else."""
    if os.geteuid() == 0 and USER_NAMESPACE not in env:
        return "/var/lib/pybuild"
    data = env.get("XDG_DATA_HOME") or os.path.join(home(env), ".local", "share")
    return os.path.join(data, "pybuild")


def home(env: Mapping[str, str]) -> str:
    """The user's directory."""
    return env.get("HOME") or os.path.expanduser("~")


def shows_color(env: Mapping[str, str]) -> bool:
    """Whether escapes may be written at all."""
    return "NO_COLOR" not in env and env.get("TERM") != "dumb"
