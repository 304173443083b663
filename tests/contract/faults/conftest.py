"""Fixtures of the faults: full disks, and figures that are shown at the end of a run."""

import os
import subprocess

import pytest


@pytest.fixture
def figure(record_property):
    """Called with a gate and what was measured; shown at the end of the run."""

    def note(gate, text):
        record_property(f"gate {gate}", text)

    return note


def pytest_terminal_summary(terminalreporter):
    """Show the figures."""
    found = [
        (name, value)
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for name, value in report.user_properties
        if name.startswith("gate ")
    ]
    if found:
        terminalreporter.section("figures")
        for name, value in sorted(set(found), key=lambda pair: (int(pair[0].split()[1]), pair[1])):
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of four MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        if "root" in os.environ.get("PYBUILD_REQUIRE", "").split(","):
            pytest.fail(f"cannot mount a small filesystem: {mounted.stderr!r}")
        pytest.skip("mounting a small filesystem needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)
