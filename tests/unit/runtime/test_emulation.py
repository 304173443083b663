"""What the kernel's handlers for other processors say."""

import sys

import pytest

from runtime.emulation import missing_part, parse_handler, program_start, read_handlers

ARM64 = """{state}
interpreter /usr/bin/qemu-aarch64-static
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


@pytest.fixture
def handlers(tmp_path):
    """A list of handlers as the kernel shows it, with nothing in it."""
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    return tmp_path


def test_a_handler_is_read(handlers):
    """Name, interpreter and flags are those that the kernel shows; other files are no handlers."""
    (handlers / "qemu-aarch64").write_text(ARM64.format(state="enabled", flags="POF"))

    (found,) = read_handlers(str(handlers))

    assert (found.name, found.interpreter) == ("qemu-aarch64", "/usr/bin/qemu-aarch64-static")
    assert (found.enabled, found.flags) == (True, "POF")
    assert found.takes(program_start("arm64"))
    assert not found.takes(program_start("riscv64"))
    assert not found.takes(b"\x7fELF")


def test_this_interpreter_starts_like_a_program_of_its_kind():
    """The table of ELF machines agrees with a real program of this machine, type and padding aside."""
    import os

    from oci_image.platform import local_platform

    start = program_start(local_platform().architecture)
    with open(os.path.realpath(sys.executable), "rb") as stream:
        real = stream.read(20)

    assert (real[:6], real[18:20]) == (start[:6], start[18:20])


@pytest.mark.parametrize(
    ("state", "flags", "says"),
    [
        ("disabled", "F", "qemu-aarch64 in binfmt_misc is switched off"),
        ("enabled", "PO", "has no flag F, so its interpreter /usr/bin/qemu-aarch64-static"),
        ("enabled", "F", "could not run the program"),
    ],
)
def test_what_a_handler_lacks(handlers, state, flags, says):
    """A handler that is there is named, with what is wrong with it."""
    (handlers / "qemu-aarch64").write_text(ARM64.format(state=state, flags=flags))

    assert says in missing_part("arm64", str(handlers))
    assert missing_part("s390x", str(handlers)) == "the kernel has no handler for s390x in binfmt_misc"


def test_no_list(handlers, tmp_path):
    """Where the list is not mounted nothing more can be said; a switch that is off is told."""
    assert (
        missing_part("arm64", str(tmp_path / "none")) == "the kernel has no handler for arm64 in binfmt_misc"
    )
    (handlers / "status").write_text("disabled\n")
    assert missing_part("arm64", str(handlers)) == "binfmt_misc is switched off"


def test_a_handler_by_extension():
    """A handler without a magic number takes no program by its start."""
    handler = parse_handler("java", "enabled\ninterpreter /usr/bin/java\nflags: \nextension .class\n")

    assert not handler.takes(program_start("amd64"))
    assert program_start("sparc9000") is None
