"""
How an ordinary user gets sandboxes: the command line executes itself once more inside a user namespace.

Nothing was done or printed before; the second execution is root there and takes the same path as root does.
"""

from __future__ import annotations

import sys

from .settings import Settings


def enter_user_namespace(settings: Settings, *, required: bool) -> None:
    """
    Go on as root of a user namespace, unless that is not needed.

    Does not return when it executes the command line again.

    Args:
        settings: of this call.
        required: whether nothing works without; otherwise steps that need no sandbox still do.

    Raises:
        NotPermitted: the kernel refuses, and it is required.
    """
    if settings.in_user_namespace:
        return
    from runtime.errors import SandboxError
    from runtime.userns import needs_reentry, reenter

    if not needs_reentry():
        return
    environment = {**settings.environment, "PYBUILD_ROOT": settings.root}
    environment["DOCKER_CONFIG"] = settings.docker_config
    try:
        reenter(["-m", "builder", *sys.argv[1:]], environment)
    except SandboxError as problem:
        if required:
            raise
        print(f"warning: {problem}; RUN steps will fail", file=sys.stderr)
