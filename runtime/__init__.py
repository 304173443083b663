"""Sandboxes: namespaces, mounts, capabilities, seccomp, cgroups and networks."""
