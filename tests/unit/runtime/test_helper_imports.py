"""What the helper process and the command line load, counted in a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HELPER = """
import json, sys, types
package = types.ModuleType("runtime")
package.__path__ = [sys.argv[1]]
sys.modules["runtime"] = package
import runtime.zygote
print(json.dumps(sorted(sys.modules)))
"""


def loaded(code: str, *options: str) -> set[str]:
    command = [sys.executable, *options, "-c", code, str(ROOT / "runtime")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_helper_is_standard_library_only() -> None:
    """The helper starts without site-packages and loads neither asyncio nor dataclasses."""
    modules = loaded(HELPER, "-I", "-S", "-E")
    tops = {name.partition(".")[0] for name in modules}
    assert tops - set(sys.stdlib_module_names) <= {"runtime", "__main__"}
    assert not modules & {"asyncio", "dataclasses", "subprocess", "logging", "typing_extensions"}


@pytest.mark.parametrize(
    "module", ["spec", "mounts", "errors", "sandbox", "recording", "probe", "userns", "network"]
)
def test_nothing_heavy_on_import(module: str) -> None:
    """Importing a module of the interface loads no netlink library, and no asyncio where none is needed."""
    modules = loaded(f"import json, sys, runtime.{module}\nprint(json.dumps(sorted(sys.modules)))")
    assert "pyroute2" not in modules
    if module != "recording":
        assert "asyncio" not in modules
