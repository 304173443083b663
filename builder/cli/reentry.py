"""
How an ordinary user gets sandboxes: the command line executes itself once more inside a user namespace.

Nothing was done or printed before; the second execution is root there and takes the same path as root does.
"""

from __future__ import annotations

import sys

from .settings import Settings


class Entry:
    """
    The way into a user namespace, for a call that may find out late that it needs one.

    Where the kernel refuses, everything that needs no sandbox still works; the rest asks `check` first.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refusal: Exception | None = None

    def enter(self) -> None:
        """Go on as root of a user namespace where that is needed and allowed; see `enter_user_namespace`."""
        from runtime.errors import SandboxError

        try:
            enter_user_namespace(self._settings)
        except SandboxError as problem:
            self._refusal = problem

    def check(self) -> None:
        """
        Make sure that sandboxes are possible.

        Raises:
            SandboxError: the kernel refused the user namespace.
        """
        if self._refusal is not None:
            raise self._refusal


def enter_user_namespace(settings: Settings) -> None:
    """
    Go on as root of a user namespace, unless that is not needed.

    Does not return when it executes the command line again.

    Raises:
        SandboxError: the kernel refuses.
    """
    if settings.in_user_namespace:
        return
    from runtime.userns import needs_reentry, reenter

    if not needs_reentry():
        return
    environment = {**settings.environment, "PYBUILD_ROOT": settings.root}
    environment["DOCKER_CONFIG"] = settings.docker_config
    reenter(["-m", "builder", *sys.argv[1:]], environment)
