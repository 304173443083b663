"""The filter answers for every system call what the profile says; the kernel is played by an interpreter."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import capabilities as caps
from runtime import seccomp
from runtime import seccomp_profile as profile
from runtime.syscall_numbers import NUMBERS

DEFAULT = caps.mask_of(caps.DEFAULT_CAPABILITIES)
DANGEROUS = """
acct add_key bpf init_module io_uring_setup kexec_load keyctl mount open_by_handle_at perf_event_open
pivot_root reboot request_key setns settimeofday swapon umount2 unshare userfaultfd
"""
NEEDED = "capset close_range execve fchownat mknodat openat2 prctl ptrace setgroups setresuid"
MODES = [("x86_64", "x86_64"), ("x86_64", "i386"), ("aarch64", "aarch64")]


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]


def evaluate(program: bytes, mode: str, number: int, *arguments: int) -> tuple[int, int]:
    """Return the filter's answer and how many instructions it took."""
    padded = (*arguments, *[0] * 6)[:6]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, seccomp.AUDIT_ARCH.get(mode, 0x28), 0, *padded)
    code = instructions(program)
    accumulator = place = steps = 0
    while True:
        operation, true, false, value = code[place]
        place += 1
        steps += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x05:
            place += value
        elif operation == 0x15:
            place += true if accumulator == value else false
        elif operation == 0x35:
            place += true if accumulator >= value else false
        else:
            assert operation == 0x06, f"unknown operation {operation:#x}"
            return value, steps


def answer(mode: str, name: str, *arguments: int, held: int = DEFAULT) -> int:
    machine = "aarch64" if mode == "aarch64" else "x86_64"
    return evaluate(seccomp.program(machine, held), mode, NUMBERS[mode][name], *arguments)[0]


@pytest.mark.parametrize(("machine", "mode"), MODES)
@pytest.mark.parametrize("held", [0, DEFAULT, (1 << 41) - 1])
def test_every_call_gets_the_profiles_answer(machine: str, mode: str, held: int) -> None:
    """Names without argument rules are allowed exactly when the profile lists them."""
    program = seccomp.program(machine, held)
    names = seccomp.allowed_names(held)
    ruled = {"clone", "clone3", "personality", "socket"}
    known = {NUMBERS[mode][name] for name in names | ruled if name in NUMBERS[mode]}
    for name, number in NUMBERS[mode].items():
        if name in ruled:
            continue
        expected = (
            seccomp.ALLOW if name in names else seccomp.ABSENT if number > max(known) else seccomp.REFUSE
        )
        assert evaluate(program, mode, number)[0] == expected, name


def test_profile_names_exist() -> None:
    """A misspelt name would silently refuse a call: each is in some table."""
    known = {name for table in NUMBERS.values() for name in table}
    assert seccomp.allowed_names((1 << 41) - 1) - known == set()


def test_profile_has_no_name_twice() -> None:
    """A call is in one group only."""
    names = [name for group in profile.ALWAYS.values() for name in group.split()]
    assert len(names) == len(set(names))
    assert set(profile.WITH_CAPABILITY) <= set(caps.NUMBERS)


@pytest.mark.parametrize("mode", ["x86_64", "aarch64", "i386"])
@pytest.mark.parametrize(
    "name",
    DANGEROUS.split(),
)
def test_dangerous_calls_are_refused(mode: str, name: str) -> None:
    """With the default capabilities none of these gets through."""
    assert answer(mode, name) == seccomp.REFUSE


@pytest.mark.parametrize("mode", ["x86_64", "aarch64", "i386"])
@pytest.mark.parametrize(
    "name",
    NEEDED.split(),
)
def test_calls_of_images_are_allowed(mode: str, name: str) -> None:
    """What package managers, and our own way to execve, need."""
    assert answer(mode, name) == seccomp.ALLOW


def test_capabilities_open_calls() -> None:
    """A capability brings the calls it guards."""
    assert answer("x86_64", "mount", held=caps.mask_of(["SYS_ADMIN"])) == seccomp.ALLOW
    assert answer("x86_64", "clone3", held=caps.mask_of(["SYS_ADMIN"])) == seccomp.ALLOW
    assert answer("x86_64", "chroot") == seccomp.ALLOW
    assert answer("x86_64", "chroot", held=0) == seccomp.REFUSE


@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_clone_makes_no_namespaces(flag: int) -> None:
    """Every namespace flag is refused, threads and processes are not; clone3 does not exist."""
    assert answer("x86_64", "clone", flag | 17) == seccomp.REFUSE
    assert answer("x86_64", "clone", 0x3D0F00) == seccomp.ALLOW
    assert answer("x86_64", "clone", 17) == seccomp.ALLOW
    assert answer("x86_64", "clone3") == seccomp.ABSENT


@given(st.integers(0, 0xFFFFFFFF))
def test_personality(value: int) -> None:
    """Only the harmless personalities are accepted."""
    expected = seccomp.ALLOW if value in profile.PERSONALITIES else seccomp.REFUSE
    assert answer("x86_64", "personality", value) == expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [(1, seccomp.ALLOW), (2, seccomp.ALLOW), (16, seccomp.ALLOW), (38, seccomp.REFUSE), (40, seccomp.REFUSE)],
)
def test_socket_families(family: int, expected: int) -> None:
    """The crypto and the hypervisor families are refused."""
    assert answer("x86_64", "socket", family) == expected


@given(st.integers(0x40000000, 0xFFFFFFFF))
def test_x32_calls_do_not_exist(number: int) -> None:
    """The x32 names of allowed calls do not slip through."""
    assert evaluate(seccomp.program("x86_64", DEFAULT), "x86_64", number)[0] == seccomp.ABSENT


@given(st.integers(0, 600))
def test_other_architectures_are_refused(number: int) -> None:
    """A call of an architecture without a table is refused, whatever its number means there."""
    for machine in ("x86_64", "aarch64"):
        assert evaluate(seccomp.program(machine, DEFAULT), "arm", number)[0] == seccomp.REFUSE


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_program_is_well_formed(machine: str) -> None:
    """The kernel's checker would accept it: bounded length, forward jumps inside, a return at the end."""
    code = instructions(seccomp.program(machine, DEFAULT))
    assert len(code) <= 4096
    for place, (operation, true, false, value) in enumerate(code):
        if operation == 0x05:
            assert place + 1 + value < len(code)
        if operation in (0x15, 0x35):
            assert place + 1 + max(true, false) < len(code)
    assert code[-1][0] == 0x06


def test_paths_are_short() -> None:
    """No call takes more than a few dozen instructions to judge."""
    program = seccomp.program("x86_64", DEFAULT)
    assert max(evaluate(program, "x86_64", number)[1] for number in range(600)) < 24


def test_unsupported_machine() -> None:
    """A machine without a table is said to have none."""
    assert seccomp.supported("x86_64")
    assert not seccomp.supported("riscv64")


def test_numbers_of_new_calls_agree() -> None:
    """From 424 on every architecture uses the same numbers; some well-known ones are right."""
    for name, number in NUMBERS["x86_64"].items():
        if number >= 424 and name in NUMBERS["aarch64"]:
            assert NUMBERS["aarch64"][name] == number
    assert (NUMBERS["x86_64"]["read"], NUMBERS["i386"]["read"], NUMBERS["aarch64"]["read"]) == (0, 3, 63)
    assert (NUMBERS["x86_64"]["clone"], NUMBERS["i386"]["clone"], NUMBERS["aarch64"]["clone"]) == (
        56,
        120,
        220,
    )
