"""
Finding and executing the program, the last act of the child.

Lookup happens inside the sandbox with the program's own PATH. The sentences and the codes 126 and 127 are
the ones users know from Docker.
"""

import errno
import os
import stat

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotExecute(Exception):
    """The program cannot be executed; the message is ready for people, and becomes `ProgramNotFound`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find(name: str, search: str) -> str:
    """Return the path to execute for `name`; raise `CannotExecute`."""
    if not name:
        raise CannotExecute('exec: "": executable file not found in $PATH', 127)
    if "/" in name:
        _check(name, name)
        return name
    denied: CannotExecute | None = None
    for directory in search.split(":"):
        path = os.path.join(directory or ".", name)
        try:
            _check(name, path)
        except CannotExecute as problem:
            if problem.exit_code != 127:
                denied = denied or problem
            continue
        return path
    raise denied or CannotExecute(f'exec: "{name}": executable file not found in $PATH', 127)


def _check(name: str, path: str) -> None:
    try:
        found = os.stat(path)
    except OSError as problem:
        code = 126 if problem.errno == errno.EACCES else 127
        reason = os.strerror(problem.errno or 0).lower()
        raise CannotExecute(f'exec: "{name}": stat {path}: {reason}', code) from None
    if stat.S_ISDIR(found.st_mode):
        raise CannotExecute(f'exec: "{name}": is a directory', 126)
    if not found.st_mode & 0o111:
        raise CannotExecute(f'exec: "{name}": permission denied', 126)


def execute(argv: list[str], env: dict[str, str], own: tuple[int, int]) -> None:
    """
    Replace this process by the program; raise `CannotExecute` when that is impossible.

    `own` is the device and inode of the interpreter: an image may hold a link to /proc/self/exe, and
    executing it would hand the interpreter of the host to the sandbox (CVE-2019-5736).
    """
    path = find(argv[0], env.get("PATH", DEFAULT_PATH))
    found = os.stat(path)
    if (found.st_dev, found.st_ino) == own:
        raise CannotExecute(f'exec: "{argv[0]}": refers to the program that starts the sandbox', 126)
    try:
        os.execve(path, argv, env)  # noqa: S606 - to execute exactly this is what the module is for
    except OSError as problem:
        code = 127 if problem.errno == errno.ENOENT else 126
        reason = os.strerror(problem.errno or 0).lower()
        raise CannotExecute(f"exec {path}: {reason}", code) from None
