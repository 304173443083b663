"""Execute a command that may not make user namespaces: `denied.py COMMAND...`, as an ordinary user."""

import ctypes
import os
import platform
import struct
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
UNSHARE, CLONE3 = {"x86_64": (272, 435), "aarch64": (97, 435)}[platform.machine()]
LOAD, EQUAL, SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38


def deny():
    """Load a seccomp filter: unshare(CLONE_NEWUSER) is not permitted, clone3 does not exist."""
    program = [
        (LOAD, 0, 0, 0),  # the number of the call
        (EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, ABSENT),
        (EQUAL, 0, 3, UNSHARE),
        (LOAD, 0, 0, 16),  # its first argument
        (SET, 0, 1, CLONE_NEWUSER),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    raw = b"".join(struct.pack("HBBI", *one) for one in program)
    code = ctypes.create_string_buffer(raw)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    deny()
    os.execvp(sys.argv[1], sys.argv[1:])
