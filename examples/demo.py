"""
The main job from end to end: ``make demo``.

Makes a base image, builds examples/flask-app, starts a registry on loopback, pushes, removes the local image,
pulls it back, runs it, asks it over HTTP, and prints digests and timings. Ends what it started. Everything
lives in ``.demo`` at the top of the repository, so a second run shows what caching does.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
APP = ROOT / "examples" / "flask-app"
PYBUILD = shutil.which("pybuild") or "pybuild"
ENVIRONMENT = {**os.environ, "PYBUILD_ROOT": str(DEMO / "store"), "BASES": str(DEMO / "bases")}


def say(text):
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def run(*command, **kwargs):
    """Run a command, print it and how long it took; return its output."""
    print("$ " + " ".join(map(str, command)), flush=True)
    start = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command],
        check=True,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    print(f"{done.stdout.rstrip()}\n  ({time.monotonic() - start:.2f} s)", flush=True)
    return done.stdout.strip()


def free_port():
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(*command):
    """A process that runs while the block does."""
    print("$ " + " ".join(map(str, command)) + " &", flush=True)
    child = subprocess.Popen([str(word) for word in command], env=ENVIRONMENT)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def fetch(url, seconds=60):
    """The body at an address, as soon as somebody answers there."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def main():
    """Tell the story."""
    DEMO.mkdir(exist_ok=True)
    say("1. What this machine allows")
    subprocess.run([PYBUILD, "doctor"], env=ENVIRONMENT, check=False)

    say("2. A base image without any registry")
    run(ROOT / "testdata" / "bases" / "make-base", "debian")

    say("3. Wheels for the application")
    if not list((APP / "wheelhouse").glob("*.whl")):
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", APP / "wheelhouse"),
            *("--only-binary=:all:", "--python-version", "3.11", "-r", APP / "requirements.txt"),
        )

    port, web = free_port(), free_port()
    name = f"127.0.0.1:{port}/demo/flask-app:1"
    say("4. Build, and build again: everything is cached")
    identity = run(PYBUILD, "-t", name, APP)
    again = run(PYBUILD, "-t", name, APP)
    assert again == identity

    say("5. A registry on loopback; push, remove, pull back")
    with process(PYBUILD, "registry", "--listen", f"127.0.0.1:{port}", "--root", DEMO / "registry"):
        fetch(f"http://127.0.0.1:{port}/v2/")
        pushed = run(PYBUILD, "push", name)
        run(PYBUILD, "rmi", name)
        pulled = run(PYBUILD, "pull", name)
        assert pushed == pulled
        print(fetch(f"http://127.0.0.1:{port}/v2/_catalog").strip())

        say("6. Run it")
        with process(PYBUILD, "run", "--rm", "--network", "host", "-e", f"PORT={web}", name):
            print(fetch(f"http://127.0.0.1:{web}/").strip())
            print(fetch(f"http://127.0.0.1:{web}/health").strip())

    say("Done")
    print(f"image ID         {identity}\npushed manifest  {pushed}\nfiles in         {DEMO}")


if __name__ == "__main__":
    main()
