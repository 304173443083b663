"""
The devices that a machine has registered: the CDI specifications of some directories, and look-ups in them.

Of devices with one name that of the later directory counts; where two documents of one directory describe it,
neither does. A document that cannot be used is a problem to be told, and its devices do not exist. Read anew
for each use, since drivers rewrite these files while builds run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import MissingDevice
from ..ops import ExecDevice
from .specs import CLASS, Device, describes, read_spec, split_kind

_NAMES = (".json", ".yaml", ".yml")
_UNKNOWN = ".yml"
"""Not the name of a specification, but a likely mistake."""
_LARGEST = 16 << 20
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecProblem:
    """A document (or directory) that does not count; `data` is its content where only its form is why."""

    path: str
    message: str
    data: bytes | None = None

    def __str__(self) -> str:
        return f"CDI specification {self.path} is not used: {self.message}"


@dataclass(frozen=True, slots=True)
class Found:
    """The names of devices that answer requests, each once, and requests without an answer."""

    names: tuple[str, ...]
    missing: tuple[str, ...]


class Registry:
    """
    Devices by their names.

    Args:
        directories: where they were looked for.
        devices: all of them.
        problems: what was left out.
    """

    def __init__(
        self, directories: Sequence[str], devices: Iterable[Device], problems: Sequence[SpecProblem] = ()
    ) -> None:
        self.devices = {device.name: device for device in sorted(devices, key=lambda device: device.name)}
        self._directories = directories
        self._problems = problems

    @property
    def faults(self) -> tuple[str, ...]:
        """What a person should know about documents that are damaged."""
        return tuple(str(problem) for problem in self._problems if problem.data is None)

    def find(self, requests: Iterable[ExecDevice]) -> Found:
        """
        The devices that are meant, in the order of the requests.

        Raises:
            MissingDevice: there is none for a request that requires one.
        """
        names: dict[str, None] = {}
        missing = []
        for request in requests:
            found = self._answers(request.name)
            if not found and request.required:
                raise MissingDevice(
                    f'required device "{request.name}" is not registered', hint=self.reason(request.name)
                )
            if not found:
                missing.append(request.name)
            names.update(dict.fromkeys(found))
        return Found(tuple(names), tuple(missing))

    def told(self, missing: Sequence[str]) -> tuple[str, ...]:
        """What to tell of requests that nothing answers, and of documents that are damaged."""
        told = []
        for name in missing:
            reason = self.reason(name)
            because = "" if reason in self.faults else f": {reason}"
            told.append(f'optional device "{name}" is not registered, so RUN goes without it{because}')
        return (*told, *self.faults)

    def _answers(self, request: str) -> list[str]:
        """One device by its name, the first or all (``=*``) of a kind, or those of a class."""
        kind, _, name = request.partition("=")
        found: list[str] = []
        if split_kind(kind)[0]:
            found = [one for one in self.devices if one.startswith(f"{kind}=")]
            if name != "*":
                found = [one for one in found if one == request] if name else found[:1]
        by_class = [one.name for one in self.devices.values() if one.annotations.get(CLASS) == request]
        return found or by_class

    def reason(self, name: str) -> str:
        """What may explain that a device is not there."""
        unread = [
            problem.path
            for problem in self._problems
            if problem.data is not None and describes(problem.data, name)
        ]
        if unread:
            return f"{unread[0]} has it, but it is YAML, and only JSON is read: write it as JSON, too"
        if faults := self.faults:
            return faults[0]
        places = ", ".join(self._directories)
        if not self.devices:
            return f"no CDI specification was found in {places}" if places else "no device was looked for"
        names = list(self.devices)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"registered in {places}: {', '.join(names[:_MOST_NAMES])}{more}"


def read_registry(directories: Sequence[str]) -> Registry:
    """Read all documents of the directories, the last of which comes first; never an error."""
    devices: dict[str, Device] = {}
    conflicts: set[str] = set()
    problems: list[SpecProblem] = []
    for priority, directory in enumerate(directories):
        for path in _documents(directory, problems):
            for device in _devices(path, priority, problems):
                other = devices.get(device.name)
                if other is not None and other.spec.priority == priority:
                    message = f"{device.name} is described by {other.spec.path}, too, and neither counts"
                    problems.append(SpecProblem(path=path, message=message))
                    conflicts.add(device.name)
                else:
                    devices[device.name] = device
    kept = [device for name, device in devices.items() if name not in conflicts]
    return Registry(directories, kept, problems)


def _documents(directory: str, problems: list[SpecProblem]) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        problems.append(SpecProblem(path=directory, message=problem.strerror or str(problem)))
        return []
    paths = [os.path.join(directory, name) for name in names if name.endswith(_NAMES)]
    return [path for path in paths if not os.path.isdir(path)]


def _devices(path: str, priority: int, problems: list[SpecProblem]) -> tuple[Device, ...]:
    data = None
    try:
        data = _content(path)
        if not path.endswith(_UNKNOWN):
            return read_spec(data, path, priority)
        problems.append(SpecProblem(path=path, message="its name does not end in .json", data=data))
    except OSError as problem:
        problems.append(SpecProblem(path=path, message=problem.strerror or str(problem)))
    except ValueError as problem:
        if data is not None and not path.endswith(".json") and not data.lstrip().startswith(b"{"):
            problems.append(SpecProblem(path=path, message="only JSON is read", data=data))
        else:
            problems.append(SpecProblem(path=path, message=str(problem)))
    return ()


def _content(path: str) -> bytes:
    # Without waiting: what lies there may be a FIFO.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is not a file")
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    return data
