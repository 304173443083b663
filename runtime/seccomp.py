"""
Compiles the seccomp profile to a classic BPF program, without libseccomp.

Pure: names and capabilities in, bytes out. A binary search over ranges of call numbers keeps every path
short. A call of an architecture that has no table is refused, and so are x32 calls, which a filter that only
looks at numbers would let through under other names. See seccomp(2).
"""

import functools
import struct
from collections.abc import Mapping

from . import capabilities
from . import seccomp_profile as profile
from .syscall_numbers import NUMBERS

_LOAD, _AND, _JUMP, _JEQ, _JGE, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_EPERM, _ENOSYS = 1, 38
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | _EPERM
ABSENT = 0x00050000 | _ENOSYS
AUDIT_ARCH = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7}
# Which kinds of calls a process of a machine can make: its own, and those of its 32-bit mode.
_MODES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64",)}
_FARTHEST = 255

_Instruction = tuple[int, int, int, int]


def supported(machine: str) -> bool:
    """Tell whether there is a table for a machine as `platform.machine` names it."""
    return machine in _MODES


@functools.cache
def program(machine: str, held: int) -> bytes:
    """Return the filter for a machine and a capability mask, as packed `struct sock_filter`s."""
    blocks = [(AUDIT_ARCH[mode], _mode(mode, held)) for mode in _MODES[machine]]
    code: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture, block in blocks:
        code += [(_JEQ, 1, 0, architecture), (_JUMP, 0, 0, len(block)), *block]
    code.append((_RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _mode(mode: str, held: int) -> list[_Instruction]:
    answers = _answers(NUMBERS[mode], held)
    starts: list[tuple[int, list[_Instruction]]] = [(0, _refuse())]
    for number in sorted(answers):
        _extend(starts, number, answers[number])
        if number + 1 not in answers:
            _extend(starts, number + 1, _refuse())
    # Calls younger than this table, and x32 ones: programs try new calls and fall back on ENOSYS only.
    _extend(starts, max(answers) + 1, [(_RETURN, 0, 0, ABSENT)])
    return [(_LOAD, 0, 0, _NUMBER), *_search(starts)]


def _refuse() -> list[_Instruction]:
    return [(_RETURN, 0, 0, REFUSE)]


def _extend(starts: list[tuple[int, list[_Instruction]]], number: int, answer: list[_Instruction]) -> None:
    """Begin a new range at `number`, unless the range before it has the same answer."""
    if starts[-1][1] == answer:
        return
    if starts[-1][0] == number:
        starts.pop()
    starts.append((number, answer))


def _search(starts: list[tuple[int, list[_Instruction]]]) -> list[_Instruction]:
    """Return code that finds the range of the accumulator by halving."""
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    below, above = _search(starts[:middle]), _search(starts[middle:])
    if len(below) <= _FARTHEST:
        return [(_JGE, len(below), 0, starts[middle][0]), *below, *above]
    return [(_JGE, 0, 1, starts[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def allowed_names(held: int) -> set[str]:
    """Return the names that need no look at their arguments, for a capability mask."""
    names = {name for group in profile.ALWAYS.values() for name in group.split()}
    for capability in capabilities.names_of(held):
        names.update(profile.WITH_CAPABILITY.get(capability, "").split())
    return names


def _answers(numbers: Mapping[str, int], held: int) -> dict[int, list[_Instruction]]:
    allow = [(_RETURN, 0, 0, ALLOW)]
    names = allowed_names(held)
    answers = {numbers[name]: allow for name in names if name in numbers}
    by_argument = {"personality": _personality(), "socket": _socket()}
    if "clone" not in names:
        by_argument["clone"] = _clone()
        # glibc tries clone3 first; its argument lies in memory, where a filter cannot look.
        by_argument["clone3"] = [(_RETURN, 0, 0, ABSENT)]
    for name, code in by_argument.items():
        if name in numbers:
            answers[numbers[name]] = code
    return answers


def _clone() -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_AND, 0, 0, profile.CLONE_NAMESPACES),
        (_JEQ, 0, 1, 0),
        (_RETURN, 0, 0, ALLOW),
        (_RETURN, 0, 0, REFUSE),
    ]


def _personality() -> list[_Instruction]:
    return _one_of(profile.PERSONALITIES, found=ALLOW, otherwise=REFUSE)


def _socket() -> list[_Instruction]:
    return _one_of(profile.REFUSED_FAMILIES, found=REFUSE, otherwise=ALLOW)


def _one_of(values: tuple[int, ...], *, found: int, otherwise: int) -> list[_Instruction]:
    code: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT)]
    code += [(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*code, (_RETURN, 0, 0, otherwise), (_RETURN, 0, 0, found)]
