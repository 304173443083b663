"""
How failures of the operating system are told: one `StoreProblem` that names the place and what to do.

Every module of the stores turns its ``OSError`` into one here, so that a full disk reads the same everywhere.
"""

from __future__ import annotations

import errno

from ..errors import StoreProblem

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def store_problem(problem: OSError, place: str, doing: str) -> StoreProblem:
    """
    The error to raise `from` the operating system's.

    Args:
        problem: what the operating system said.
        place: the path of the store or file, as people know it.
        doing: what was tried, as in "write a blob".
    """
    if problem.errno in _FULL:
        return StoreProblem(
            f"{place}: cannot {doing}: no space left on the device",
            hint="free some space, run 'pybuild prune', or choose another place with --root",
        )
    if problem.errno in _FORBIDDEN:
        return StoreProblem(
            f"{place}: cannot {doing}: {problem.strerror}",
            hint="check the owner and the permissions of the directory, or choose another with --root",
        )
    return StoreProblem(f"{place}: cannot {doing}: {problem.strerror or problem}")
