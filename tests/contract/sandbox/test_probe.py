"""The probe says what the machine allows, and refusals come with remedies."""

import json
import subprocess
import sys

import pytest

from runtime.probe import can_sandbox, probe
from tests.contract.sandbox.lab import REPOSITORY, Lab

pytestmark = pytest.mark.userns

FORBIDDEN = """
import asyncio, json, os, struct, sys
sys.path.insert(0, sys.argv[1])
from runtime import syscalls as sc, userns
from runtime.errors import SandboxError
from runtime.probe import can_sandbox, probe
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec
# What a container without further rights says: no unshare, no namespaces by clone3 (x86-64 numbers).
rules = [(0x20, 0, 0, 0), (0x15, 2, 0, 272), (0x15, 1, 0, 435), (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50001)]
sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
sc.seccomp_filter(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
answers = {item.name: [item.ok, item.remedy] for item in probe()}
answers["sandbox"] = [can_sandbox().ok, can_sandbox().remedy]
for name, action in (
    ("run", lambda: asyncio.run(LinuxSandbox().run(SandboxSpec.from_json(sys.argv[2])))),
    ("reenter", lambda: userns.reenter(["-c", "print('never')"], dict(os.environ))),
):
    try:
        action()
    except SandboxError as problem:
        answers[name] = [type(problem).__name__, problem.hint]
print(json.dumps(answers))
"""


@pytest.mark.usefixtures("machine")
def test_a_machine_that_can() -> None:
    """Where sandboxes run, everything they need is reported as there, each thing once."""
    found = probe()
    assert len({item.name for item in found}) == len(found) >= 10
    assert can_sandbox().ok
    for item in found:
        assert item.detail
        assert item.ok or item.remedy, item.name


def test_a_machine_that_forbids(lab: Lab) -> None:
    """Where namespaces are refused, the probe, a run and the re-execution all say what would help."""
    if sys.implementation._multiarch.partition("-")[0] != "x86_64":
        pytest.skip("the filter is written for x86-64")
    command = [sys.executable, "-c", FORBIDDEN, str(REPOSITORY), lab.spec("true").to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for name in ("user namespaces", "namespaces", "proc", "overlay", "sandbox"):
        assert not answers[name][0], name
        assert answers[name][1], name
    assert answers["seccomp"][0]
    assert answers["run"][0] == answers["reenter"][0] == "NotPermitted"
    assert "seccomp profile" in answers["reenter"][1]
    assert answers["run"][1]
