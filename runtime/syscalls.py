"""
The system calls Python has no function for, as thin wrappers with the kernel's own names.

Standard library only: the helper process imports this. Every wrapper raises `OSError` with the errno and the
name of the call. The mount calls are the descriptor based ones of Linux 5.2 and later, because a path can be
changed between a check and a mount(2), and a descriptor cannot. See open_tree(2), openat2(2), clone(2).
"""

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
# PyDLL keeps the interpreter lock across the call: the child of clone3 continues in this very thread.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc_with_lock.syscall.restype = ctypes.c_long

# Numbers up to 423 differ between architectures, later ones are the same everywhere.
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "seccomp": 317, "keyctl": 250, "setns": 308, "unshare": 272},
    "aarch64": {"pivot_root": 41, "capset": 91, "seccomp": 277, "keyctl": 219, "setns": 268, "unshare": 97},
}
_ARCH = _NUMBERS.get(os.uname().machine, {})
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 435, 436, 437, 442

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_STRICTATIME = 0x20
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
KEYCTL_JOIN_SESSION_KEYRING = 1
O_PATH = os.O_PATH | os.O_CLOEXEC
_FD_CLOEXEC = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOSE_RANGE_CLOEXEC = 4
_SECCOMP_SET_MODE_FILTER = 1


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def _syscall(name: str, number: int, *arguments: object) -> int:
    prepared = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *prepared), name)


def _old(name: str) -> int:
    if name not in _ARCH:
        raise OSError(errno.ENOSYS, f"not known for {os.uname().machine}", name)
    return _ARCH[name]


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """The kernel call `mount`."""
    _checked(
        _libc.mount(
            os.fsencode(source) or None,
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            os.fsencode(data) or None,
        ),
        "mount",
    )


def umount2(target: str, flags: int) -> None:
    """The kernel call `umount2`."""
    _checked(_libc.umount2(os.fsencode(target), flags), "umount2")


def pivot_root(new_root: str, put_old: str) -> None:
    """The kernel call `pivot_root`."""
    _syscall("pivot_root", _old("pivot_root"), os.fsencode(new_root), os.fsencode(put_old))


def fsopen(kind: str) -> int:
    """The kernel call `fsopen`, close on exec."""
    return _syscall("fsopen", _FSOPEN, kind.encode(), _FD_CLOEXEC)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """The kernel call `fsconfig` with a text value (at most 255 bytes)."""
    _syscall("fsconfig", _FSCONFIG, fd, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def fsconfig_flag(fd: int, key: str) -> None:
    """The kernel call `fsconfig` with a key that has no value."""
    _syscall("fsconfig", _FSCONFIG, fd, _FSCONFIG_SET_FLAG, key.encode(), None, 0)


def fsconfig_create(fd: int) -> None:
    """The kernel call `fsconfig`: make the file system that was described."""
    _syscall("fsconfig", _FSCONFIG, fd, _FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int, attributes: int = 0) -> int:
    """The kernel call `fsmount`, close on exec; the mount is attached nowhere yet."""
    return _syscall("fsmount", _FSMOUNT, fd, _FD_CLOEXEC, attributes)


def open_tree(directory: int, path: str, flags: int) -> int:
    """The kernel call `open_tree`, close on exec; with OPEN_TREE_CLONE a detached copy of the mount."""
    return _syscall("open_tree", _OPEN_TREE, directory, os.fsencode(path), flags | os.O_CLOEXEC)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """The kernel call `move_mount` between two descriptors."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _syscall("move_mount", _MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags)


def mount_setattr(fd: int, attributes: int, *, recursive: bool = False) -> None:
    """The kernel call `mount_setattr`: add attributes to the mount behind a descriptor."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    packed = struct.pack("=QQQQ", attributes, 0, 0, 0)
    _syscall("mount_setattr", _MOUNT_SETATTR, fd, b"", flags, packed, len(packed))


def mount_propagation(fd: int, kind: int) -> None:
    """The kernel call `mount_setattr`: make the mount behind a descriptor private, slave or unbindable."""
    packed = struct.pack("=QQQQ", 0, 0, kind, 0)
    _syscall("mount_setattr", _MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH, packed, len(packed))


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """The kernel call `openat2`; tries again when the kernel saw a rename race and asks for it."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(32):
        try:
            return _syscall("openat2", _OPENAT2, directory, os.fsencode(path), how, len(how))
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def clone3(flags: int, exit_signal: int, cgroup: int = -1) -> int:
    """The kernel call `clone3` without a new stack, like fork; only for a process with a single thread."""
    into = CLONE_INTO_CGROUP if cgroup >= 0 else 0
    packed = struct.pack("=11Q", flags | into, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0))
    return _checked(
        _libc_with_lock.syscall(ctypes.c_long(_CLONE3), packed, ctypes.c_long(len(packed))), "clone3"
    )


def unshare(flags: int) -> None:
    """The kernel call `unshare`; `os.unshare` exists from Python 3.12 only."""
    _syscall("unshare", _old("unshare"), flags)


def setns(fd: int, kind: int) -> None:
    """The kernel call `setns`; `os.setns` exists from Python 3.12 only."""
    _syscall("setns", _old("setns"), fd, kind)


def prctl(option: int, *arguments: int) -> int:
    """The kernel call `prctl`; missing arguments are zero, as most options demand."""
    values = [ctypes.c_ulong(item) for item in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *values), "prctl")


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """The kernel call `capset` of the calling thread."""
    header = struct.pack("=Ii", 0x20080522, 0)
    sets = (effective, permitted, inheritable)
    low = [value & 0xFFFFFFFF for value in sets]
    high = [value >> 32 for value in sets]
    _syscall("capset", _old("capset"), header, struct.pack("=6I", *low, *high))


def keyctl_join_session(name: str) -> None:
    """The kernel call `keyctl`: give this process a session keyring of its own."""
    _syscall("keyctl", _old("keyctl"), KEYCTL_JOIN_SESSION_KEYRING, name.encode(), 0, 0, 0)


def close_range_on_exec(first: int) -> None:
    """The kernel call `close_range`: mark every descriptor from `first` on to be closed by execve."""
    _syscall("close_range", _CLOSE_RANGE, first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def seccomp_filter(program: bytes) -> None:
    """The kernel call `seccomp`: install a classic BPF program given as packed `struct sock_filter`."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short, padding, pointer.
    prog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    _syscall("seccomp", _old("seccomp"), _SECCOMP_SET_MODE_FILTER, 0, prog)


def sethostname(name: str) -> None:
    """The kernel call `sethostname`; `socket.sethostname` would go through the locale's encoder."""
    raw = name.encode()
    _checked(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")
