"""Directories with CDI specifications."""

import json

import pytest

from builder.devices.registry import read_registry


class Machine:
    """Directories of specifications, the last of which comes first."""

    def __init__(self, root):
        self.root = root
        self.directories = []

    def directory(self, name):
        """The path of a directory, which counts from now on."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        if str(path) not in self.directories:
            self.directories.append(str(path))
        return path

    def spec(self, *devices, kind="vendor.com/class", where="etc", name="one.json", **members):
        """Write a specification; a device is a name or an object, and has a variable if nothing else."""
        listed = [{"name": device} if isinstance(device, str) else device for device in devices]
        for device in listed:
            device.setdefault("containerEdits", {"env": [f"{device['name'].upper()}={where}"]})
        path = self.directory(where) / name
        path.write_text(json.dumps({"cdiVersion": "1.1.0", "kind": kind, "devices": listed, **members}))
        return str(path)

    @property
    def registry(self):
        """What is registered."""
        return read_registry(self.directories)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)
