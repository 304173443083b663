"""
The command line: finds the verb, calls it, renders what went wrong, decides the exit status.

Exit status: 0 done, 1 the build (or another request) failed, 2 wrong usage, 3 this machine cannot do it,
125 to 127 as ``docker run`` for `run`, 130 interrupted, 70 a bug of pybuild. Data goes to stdout, everything
else to stderr. Nothing heavy is imported before the verb is known.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

VERBS = {
    "build": "Build an image from a Dockerfile",
    "run": "Run a command in an image",
    "push": "Push an image to a registry",
    "pull": "Pull an image from a registry",
    "login": "Log in to a registry",
    "logout": "Log out of a registry",
    "registry": "Serve a registry",
    "images": "List images",
    "tag": "Give an image another name",
    "rmi": "Remove images",
    "inspect": "Show an image's details as JSON",
    "history": "Show the history of an image",
    "save": "Save images to an archive",
    "load": "Load images from an archive",
    "import": "Make an image from a root filesystem's archive",
    "export": "Write an image's filesystem as an archive",
    "prune": "Remove what no image needs",
    "du": "Show what takes how much space",
    "doctor": "Show what this machine allows, and what to do about the rest",
}
_COLLECT_AFTER = 100_000
USAGE = 2
INTERRUPTED = 130
BUG = 70


def entry() -> None:
    """The console script: run and leave at once (skipping the interpreter's tear-down saves milliseconds)."""
    # Modules and lists of files are no garbage: looking through them over and over takes a tenth of a build.
    # All modules of a build that runs commands make half as many objects.
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = status or 1
    os._exit(status)


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit status; never raises for anything a user can cause."""
    verb, rest = _split(arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            _help()
            return 0 if arguments else USAGE
        if arguments[0] in ("--version", "version"):
            from .roots import VERSION

            print(f"pybuild {VERSION}")
            return 0
        return _verb(verb)(rest)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (``pybuild images | head``): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    except Exception as problem:  # noqa: BLE001 - the last door: everything becomes a message here
        from .problems import render

        return render(problem, verb)


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    # ``pybuild --root DIR images`` and ``pybuild images --root DIR`` are the same.
    ahead: list[str] = []
    rest = list(arguments)
    while rest and (rest[0] == "--root" or rest[0].startswith("--root=")):
        count = 2 if rest[0] == "--root" else 1
        ahead += rest[:count]
        rest = rest[count:]
    if rest and rest[0] in VERBS:
        return rest[0], ahead + rest[1:]
    return "build", ahead + rest


def _verb(name: str) -> Callable[[list[str]], int]:
    import importlib

    if name != "build":  # which does it once something has to run
        from .interrupts import end_in_order

        end_in_order()
    module = {"import": "import_", "registry": "registry_"}.get(name, name)
    run: Callable[[list[str]], int] = importlib.import_module(f".verbs.{module}", __package__).main
    return run


def _help() -> None:
    width = max(map(len, VERBS)) + 2
    lines = [
        "usage: pybuild [OPTIONS] CONTEXT          build an image, as in: pybuild -t app:1 .",
        "       pybuild VERB [OPTIONS] [ARGUMENTS]",
        "",
        "Builds, stores, serves and runs OCI images without a daemon.",
        "",
        "verbs:",
        *(f"  {name:<{width}}{text}" for name, text in VERBS.items()),
        "",
        "Every verb explains itself: pybuild VERB --help",
        "The store is /var/lib/pybuild for root and ~/.local/share/pybuild for others;",
        "--root DIR or PYBUILD_ROOT choose another one.",
    ]
    print("\n".join(lines), flush=True)
