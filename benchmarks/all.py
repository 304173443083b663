"""
Measure everything: ``python benchmarks/all.py --loop-image 60G --output run.md``.

Runs builds.py, registry.py and transfers.py one after the other with the same options and writes complete
Markdown: the description of the machine, then their tables. Takes an hour or more at scale 1.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import workspace

HERE = Path(__file__).resolve().parent

SCRIPTS = ("builds.py", "registry.py", "transfers.py")


def run(command: list[str]) -> int:
    """Run a script; if we are ended, it is ended tidily."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def main() -> None:
    """Run the scripts."""
    args = workspace.arguments(__doc__).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    passed = ["--scale", str(args.scale), "--runs", str(args.runs), "--source", args.source]
    passed += ["--python", args.python, "--touch-memory", str(args.touch_memory)]
    for name in ("folder", "loop_image", "output", "json"):
        value = getattr(args, name)
        if value:
            passed += [f"--{name.replace('_', '-')}", value]
    failed = []
    for script in SCRIPTS:
        # The first one describes the machine: it knows the file system of the data.
        quiet = ["--no-header"] if script != SCRIPTS[0] else []
        if run([sys.executable, str(HERE / script), *passed, *quiet]):
            failed.append(script)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
