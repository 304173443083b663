"""
Flags of ``docker build`` and ``docker buildx build`` that have other words here, or none.

Loaded only when a command line could not be read as it is. A flag is left out where its meaning holds anyway,
replaced where there is another word for it, and otherwise an error that says why. Governing texts: "docker
build" and "docker buildx build" in the documentation of Docker's command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from dockerfile_grammar.golang import csv_fields, parse_bool
from dockerfile_grammar.suggest import nearest

from ..errors import InvalidOption, Unsupported

SWITCHES = ("--no-cache", "--pull", "--push", "--quiet", "-q", "--check", "--squash", "--plan", "--explain")
"""Flags of ours without a value; Go's flags also take ``=true`` and ``=false``."""

_Answer = list[str]
"""The words that stand for a flag of docker's."""


def suggestion(arguments: Iterable[str], known: Iterable[str]) -> str:
    """What may have been meant by a flag that nobody has, as an end of a message."""
    flags = {*known, *_SWITCHES, *_VALUES}
    for word in arguments:
        name = word.partition("=")[0]
        if name.startswith("--") and (near := nearest(name, flags)):
            return f" (did you mean {near}?)"
    return ""


def translated(arguments: list[str]) -> list[str]:
    """
    A command line of docker's in words of ours; what neither has stays as it is.

    Raises:
        InvalidOption: a value makes no sense.
        Unsupported: docker has such a flag; the error says why there is none here.
    """
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*found, word, *words]
        name, equals, value = word.partition("=")
        if name == "--progress":
            found += _progress(value if equals else next(words, ""))
        elif name in SWITCHES and equals:
            found = _switched(found, name, value)
        elif name in _SWITCHES:
            found += _SWITCHES[name](name, _truth(name, value) if equals else True)
        elif name in _VALUES:
            found += _VALUES[name](name, value if equals else _next(name, words))
        else:
            found.append(word)
    return found


def _next(name: str, words: Iterator[str]) -> str:
    try:
        return next(words)
    except StopIteration:
        raise InvalidOption(f"flag needs an argument: {name}") from None


def _truth(name: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise InvalidOption(f"{name}={value}: expected true or false") from None


def _switched(before: list[str], name: str, value: str) -> list[str]:
    """Of equal switches the last one counts."""
    others = [word for word in before if word != name]
    return [*others, name] if _truth(name, value) else others


def _progress(kind: str) -> _Answer:
    return ["--progress=quiet" if kind == "none" else f"--progress={kind}"]


def _accepted(name: str, value: bool | str) -> _Answer:
    """What holds anyway, whatever the value."""
    del name, value
    return []


def _always(reason: str) -> Callable[[str, bool], _Answer]:
    """A switch that is always on here."""

    def read(name: str, value: bool) -> _Answer:
        if not value:
            raise Unsupported(f"{name}=false is not supported: {reason}")
        return []

    return read


def _refused(reason: str, hint: str | None = None) -> Callable[[str, bool | str], _Answer]:
    """A flag that asks for something that is not done; the hint may say what is."""

    def read(name: str, value: bool | str) -> _Answer:
        if value in (False, ""):
            return []
        raise Unsupported(f"{name} is not supported: {reason}", hint=hint)

    return read


def _default_only(reason: str) -> Callable[[str, str], _Answer]:
    def read(name: str, value: str) -> _Answer:
        if value not in ("", "default"):
            raise Unsupported(f"{name} {value} is not supported: {reason}")
        return []

    return read


def _no_attestation(name: str, value: str) -> _Answer:
    """``--sbom``, ``--provenance`` and ``--attest`` may say that there is to be none."""
    fields = csv_fields(value)
    said = [field.removeprefix("disabled=") for field in fields if field.startswith("disabled=")]
    if not value or (said and _truth(name, said[-1])):
        return []
    with suppress(ValueError):
        if not said and name != "--attest" and not parse_bool(value):
            return []
    raise Unsupported(
        f"{name} {value} is not supported: images get no attestations", hint=f"leave {name} out"
    )


def _resource(name: str, value: str) -> _Answer:
    """``--resource KEY=VALUE,…`` is another spelling of the bounds."""
    words = []
    for field in csv_fields(value):
        key, equals, bound = field.partition("=")
        if key not in RESOURCES or not equals:
            raise InvalidOption(f"{name} {value}: expected KEY=VALUE with one of {', '.join(RESOURCES)}")
        words.append(f"--{key}={bound}")
    return words


RESOURCES = ("memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
_NO_BUILDERS = "there are no builders to choose from"
_ONE_BUILD = "a build runs in the foreground, and ends with it"
_SWITCHES: dict[str, Callable[[str, bool], _Answer]] = {
    "--load": _accepted,  # results are in the local store in any case
    "--compress": _accepted,  # the build context is not sent anywhere
    "--force-rm": _accepted,
    "--rm": _always("nothing of a step is left that could be kept"),
    "--disable-content-trust": _always("signatures of images are not checked"),
    "--stream": _refused("the build context is not sent anywhere"),
    "--debug": _refused("there is no daemon to tell more", "--progress plain shows everything"),
    "-D": _refused("there is no daemon to tell more", "--progress plain shows everything"),
    "--detach": _refused(_ONE_BUILD),
    "--all-platforms": _refused("an image is built for the platforms that --platform lists"),
}
_VALUES: dict[str, Callable[[str, str], _Answer]] = {
    "--attest": _no_attestation,
    "--builder": _default_only(_NO_BUILDERS),
    "--group": _refused(_ONE_BUILD),
    "--invoke": _refused("there is no debugger for builds"),
    "--isolation": _default_only("commands run in a sandbox of namespaces, of which there is one kind"),
    "--on": _refused("there is no debugger for builds"),
    "--policy": _refused("sources are not judged by policies"),
    "--print": lambda name, value: [f"--call={value}"],  # noqa: ARG005 - the old name of --call
    "--provenance": _no_attestation,
    "--resource": _resource,
    "--sbom": _no_attestation,
    "--security-opt": _refused("commands run with Docker's default profile", "see --allow security.insecure"),
    "--server-config": _refused(_NO_BUILDERS),
}
