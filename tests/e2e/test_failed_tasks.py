"""What is told of things beside the steps that fail."""

import pytest

from tests.e2e.support import Pybuild

pytestmark = pytest.mark.userns


def test_fetching_layers(busybox, registry, tmp_path):
    """Layers of a base that cannot be fetched any more: the task that began ends with an ERROR line."""
    name = f"{registry.name}/base:1"
    busybox("tag", "busybox", name)
    busybox("push", name)
    other = Pybuild(tmp_path / "other")
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nLABEL only=metadata\n")
    other.build(tmp_path)
    for blob in registry.root.rglob("*"):
        if blob.is_file() and blob.stat().st_size > 100_000:
            blob.unlink()
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nRUN true\n")
    done = other.build(tmp_path, check=False)
    assert done.returncode == 1
    number = next(line.split()[0] for line in done.stderr.splitlines() if "fetching base layers" in line)
    assert f"\n{number} ERROR: cannot fetch the layers of the base" in done.stderr
