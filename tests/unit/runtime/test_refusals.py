"""Refusals of the kernel become errors that tell people what to do."""

import errno

import pytest

from runtime.errors import NotPermitted, SandboxError, SetupFailed
from runtime.namespaces import IdMap
from runtime.refusals import explain

ROOT = IdMap(kind="root", size=4294967295, groups=4294967295, setgroups=True)
SINGLE = IdMap(kind="single", size=1, groups=1, setgroups=False)


@pytest.mark.parametrize(
    ("operation", "number", "detail", "id_map", "remedy"),
    [
        ("mount overlay", errno.EINVAL, "fsconfig", ROOT, "disk file system"),
        ("become user 5:5", errno.EINVAL, "", SINGLE, "/etc/subuid"),
        ("clone3", errno.EPERM, "", SINGLE, "user namespace"),
        ("mount proc on /proc", errno.EPERM, "", SINGLE, "systempaths=unconfined"),
        ("mount on /x", errno.ENOSYS, "mount_setattr", ROOT, "5.12"),
    ],
)
def test_known_refusals(operation: str, number: int, detail: str, id_map: IdMap, remedy: str) -> None:
    """Where a setting would help, it is named."""
    problem = explain(operation, number, detail, id_map)
    assert isinstance(problem, NotPermitted)
    assert remedy in problem.remedy
    assert problem.hint == problem.remedy


def test_other_refusals_name_the_operation() -> None:
    """Everything else tells the operation, the reason and the detail."""
    problem = explain("mount on /x", errno.ENOENT, "open_tree", ROOT)
    assert isinstance(problem, SetupFailed)
    assert isinstance(problem, SandboxError)
    assert str(problem) == "mount on /x: No such file or directory (open_tree)"
    assert (problem.operation, problem.errno, problem.hint) == ("mount on /x", errno.ENOENT, None)
