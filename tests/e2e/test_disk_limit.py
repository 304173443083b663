"""`--cache-limit`: a hard limit for the build cache."""

import json

import pytest

from tests.e2e.test_disk import holders, written


def cache_size(pybuild):
    """What `du` counts as cache."""
    return json.loads(pybuild("du", "--format", "json").stdout)["cache_size"]


def test_the_oldest_goes_first(pybuild, tmp_path):
    """Before a layer is written there is room for it: what was unused for longest is forgotten."""
    for name in ("one", "two", "three"):
        written(tmp_path / name, f"FROM scratch\nCOPY f /{name}\n", f=name[0] * 400_000)
    for name in ("one", "two", "one", "three"):
        pybuild.build(tmp_path / name, "--cache-limit", "1000000")
        assert cache_size(pybuild) <= 1_000_000
    assert {one["description"] for one in holders(pybuild, "regular")} == {"COPY f /one", "COPY f /three"}
    assert "CACHED" in pybuild.build(tmp_path / "one").stderr


def test_one_step_that_does_not_fit(pybuild, tmp_path):
    """The error names the limit, its status is that of a full disk, and nothing of the layer stays."""
    small = written(tmp_path / "small", "FROM scratch\nCOPY f /f\n", f="F" * 1000)
    pybuild.build(small)
    big = written(tmp_path / "big", "FROM scratch\nCOPY f /f\n", f="F" * 3_000_000)
    done = pybuild.build(big, env={"PYBUILD_CACHE_LIMIT": "1m"}, check=False)
    assert done.returncode == 3
    assert (
        "the build cache may take 1048576 bytes (--cache-limit): this step alone writes more" in done.stderr
    )
    assert cache_size(pybuild) < 100_000
    assert not list((pybuild.root / "pybuild" / "tmp").iterdir())
    two = written(tmp_path / "two", "FROM scratch\nCOPY f /f\nCOPY f /g\n", f="F" * 700_000)
    done = pybuild.build(two, "--cache-limit", "1m", check=False)
    assert "running builds need all of it, and this step more" in done.stderr
    assert cache_size(pybuild) <= 1 << 20
    pybuild.build(two, "--cache-limit", "2m")


@pytest.mark.parametrize("text", ["much", "-1"])
def test_what_is_no_size(pybuild, tmp_path, text):
    """It is an error that says how sizes are written."""
    context = written(tmp_path / "c", "FROM scratch\n")
    done = pybuild.build(context, f"--cache-limit={text}", check=False)
    assert "hint: as in 20GB" in done.stderr


@pytest.mark.userns
def test_commands_are_bound_too(busybox, tmp_path):
    """What RUN wrote is a layer like others."""
    context = written(tmp_path / "c", "FROM busybox\nRUN head -c 20000000 /dev/zero > /big\n")
    done = busybox.build(context, "--cache-limit", "15m", check=False)
    assert "(--cache-limit)" in done.stderr
    busybox.build(context, "--cache-limit", "60m")
