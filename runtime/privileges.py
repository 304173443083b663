"""
Giving up privilege inside a sandbox: limits, keyring, seccomp, capabilities, user.

Runs in the child after the old root is gone; standard library only and no lazy imports, because an import
would now be answered from the sandbox's own files. The order is the kernel's: without no_new_privs a filter
needs CAP_SYS_ADMIN and is loaded first; the bounding set needs CAP_SETPCAP; setuid comes before capset; the
parent-death signal is cleared by a change of user and set again. See capabilities(7), seccomp(2), prctl(2).
"""

import binascii
import errno
import os
import resource
import stat
from contextlib import suppress
from typing import Any

from . import syscalls as sc
from .accounts import Account
from .rootmount import SetupProblem, operation

_SIGKILL = 9


def die_with_parent() -> None:
    """Have the kernel kill this process when the helper that made it dies."""
    sc.prctl(sc.PR_SET_PDEATHSIG, _SIGKILL)


def drop(plan: dict[str, Any], account: Account) -> None:
    """Reduce this process to what the plan allows; nothing may need privilege afterwards."""
    with suppress(OSError):
        # Not every kernel and not every surrounding filter has keyrings.
        sc.keyctl_join_session("_ses.pybuild")
    _set_limits(plan["rlimits"])
    _own_stdio(plan, account)
    code = binascii.a2b_base64(plan["seccomp"])
    nnp = plan["no_new_privileges"]
    if code and not nnp:
        with operation("load the seccomp filter"):
            sc.seccomp_filter(code)
    _drop_bounding(plan["capabilities"], plan["last_capability"])
    _become(plan, account)
    with operation("set capabilities"):
        sc.capset(plan["capabilities"], plan["capabilities"], 0)
        sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_CLEAR_ALL)
    die_with_parent()
    if nnp:
        with operation("set no_new_privs"):
            sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
        if code:
            with operation("load the seccomp filter"):
                sc.seccomp_filter(code)


def _set_limits(limits: list[tuple[str, int, int, int]]) -> None:
    for name, number, soft, hard in limits:
        with operation(f"set limit {name}"):
            try:
                resource.setrlimit(number, (soft, hard))
            except ValueError as problem:
                raise SetupProblem(f"set limit {name}", errno.EPERM, str(problem)) from problem


def _own_stdio(plan: dict[str, Any], account: Account) -> None:
    """Let the program reopen /dev/stdout by name; only our own pipes, never descriptors of a caller."""
    if not plan["own_stdio"] or account.uid == 0:
        return
    for fd in (1, 2):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            with suppress(OSError):
                os.fchown(fd, account.uid, account.gid)


def _drop_bounding(kept: int, last: int) -> None:
    with operation("drop the capability bounding set"):
        for number in range(last + 1):
            if not kept >> number & 1:
                sc.prctl(sc.PR_CAPBSET_DROP, number)


def _become(plan: dict[str, Any], account: Account) -> None:
    with operation(f"become user {account.uid}:{account.gid}"):
        sc.prctl(sc.PR_SET_KEEPCAPS, 1)
        if plan["setgroups"]:
            os.setgroups(list(dict.fromkeys((*account.groups, *plan["groups"]))))
        os.setgid(account.gid)
        os.setuid(account.uid)
        sc.prctl(sc.PR_SET_KEEPCAPS, 0)
