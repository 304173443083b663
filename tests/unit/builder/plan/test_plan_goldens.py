"""
Dockerfiles and the plans they become, over one small context and a few images.

Run this file as a program to write the plans again after a change, and read the difference.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from builder.devices.allowing import AllowedDevices
from builder.errors import BuildError
from builder.graph_text import graph_json
from dockerfile_grammar.errors import DockerfileError

CASES = Path(__file__).resolve().parents[4] / "testdata" / "dockerfiles"
NAMES = sorted(path.parent.name for path in CASES.glob("*/Dockerfile"))
CONTEXT = {
    "with blank": "a name with a blank\n",
    "real": "real\n",
    "f": "f\n",
    "a.tar": "",
    "b.tar": "",
    "one.txt": "1\n",
    "two.txt": "2\n",
    "a1": "",
    "src/a/x": "x\n",
    "src/a/x.pyc": "",
    "src/b/y": "y\n",
    "package.json": "{}\n",
    "requirements.txt": "lark\n",
    "app/main.py": "print()\n",
}
IMAGES = ("alpine", "registry.example:5000/team/app", "mcr.example/windows", "python:3.12-slim", "tools")


def planned(case, plans):
    """The plan as JSON, or the error that it is."""
    plans.tree(CONTEXT)
    for name in IMAGES:
        image = plans.image_of(name, env=("PATH=/usr/bin:/bin", f"BASE={name}"), cmd=("/bin/sh",))
        plans.resolver.images[str(plans.reference(name))] = image
    try:
        graph = plans((CASES / case / "Dockerfile").read_bytes(), devices=AllowedDevices(everything=True))
    except (BuildError, DockerfileError) as problem:
        message = problem.message.replace(str(plans.root), "CONTEXT")
        lines = [problem.span.start_line, problem.span.end_line] if problem.span else None
        return {"error": type(problem).__name__, "message": message, "hint": problem.hint, "lines": lines}
    return graph_json(graph)


@pytest.mark.parametrize("case", NAMES)
def test_dockerfile_becomes_the_recorded_plan(case, plans):
    """A Dockerfile should become the plan that was reviewed."""
    recorded = json.loads((CASES / case / "planned.json").read_text(encoding="utf-8"))
    assert planned(case, plans) == recorded


if __name__ == "__main__":
    import importlib.util

    spec = importlib.util.spec_from_file_location("plans", Path(__file__).with_name("conftest.py"))
    fixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fixtures)
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            value = planned(name, fixtures.Plans(Path(folder)))
        text = json.dumps(value, indent=1, ensure_ascii=False)
        (CASES / name / "planned.json").write_text(text + "\n", encoding="utf-8")
