"""What a refusal of the kernel means to people: from operation and errno to an error with a remedy."""

import errno

from .errors import NotPermitted, SandboxError, SetupFailed
from .namespaces import IdMap


def explain(operation: str, number: int, detail: str, id_map: IdMap) -> SandboxError:
    """Return the error for an operation that the kernel refused, with a remedy where one is known."""
    if operation == "mount overlay" and number == errno.EINVAL:
        return NotPermitted(
            f"the overlay for the root file system was refused ({detail})",
            "most often its upper directory lies on another overlay, as inside a container: put the build "
            "state on a volume, a disk file system (ext4, xfs, btrfs) or a tmpfs",
        )
    if operation.startswith("become user") and number == errno.EINVAL and id_map.kind != "root":
        return NotPermitted(
            f"{operation}: the id does not exist in this user namespace",
            "give the user a range of ids in /etc/subuid and /etc/subgid and install newuidmap",
        )
    if number == errno.EPERM and operation in ("clone3", "unshare"):
        return NotPermitted(
            "namespaces may not be created", "run as root, or let pybuild enter a user namespace"
        )
    if number == errno.EPERM and operation.startswith("mount proc"):
        return NotPermitted(
            "proc may not be mounted",
            "the surrounding container masks /proc: run it with --security-opt systempaths=unconfined",
        )
    if number == errno.ENOSYS:
        return NotPermitted(f"{operation}: not known to this kernel", "Linux 5.12 or newer is needed")
    return SetupFailed(operation, number, detail)
