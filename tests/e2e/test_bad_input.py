"""
Everything that can be wrong outside of pybuild: one clear message, the right status, nothing half-written.

A traceback is never an answer, and what was finished before stays finished.
"""

import json
import os
import re
import subprocess

import pytest

from tests.e2e.liar import digest, honest, image, serving
from tests.e2e.support import Pybuild, free_port, make_base, need
from tests.e2e.traces import broken_blobs, temporary

pytestmark = pytest.mark.usefixtures("as_root")

FRAME = "-" * 20


def write(folder, files):
    """Make files; a value is text."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def fails(pybuild, folder, *args, status=1, **kwargs):
    """Build and fail; gives what was told, after looking for traces."""
    (folder / "iid").write_text("old")
    options = ("-t", "bad", "--iidfile", folder / "iid", "--metadata-file", folder / "meta")
    done = pybuild.build(folder, *options, *args, check=False, **kwargs)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\nerror: ") + done.stderr.startswith("error: ") == 1
    assert "\x1b" not in done.stderr
    assert not (folder / "iid").exists()
    assert not (folder / "meta").exists()
    nothing_left(pybuild)
    return done.stderr


def nothing_left(pybuild):
    """No temporary file, no half blob, no name."""
    assert temporary(pybuild.root) == []
    assert broken_blobs(pybuild.root) == []
    assert pybuild("inspect", "bad", check=False).returncode == 1


def test_excerpt(busybox, tmp_path):
    """An error shows its place as BuildKit does, then what, then a hint."""
    write(tmp_path, {"Dockerfile": "FROM busybox\n\nRUNN echo hi\n# 4\n# 5\n# 6\n"})

    assert fails(busybox, tmp_path) == (
        f"Dockerfile:3\n{FRAME}\n   1 |     FROM busybox\n   2 |\n   3 | >>> RUNN echo hi\n   4 |     # 4\n"
        f"   5 |     # 5\n{FRAME}\nerror: unknown instruction: RUNN\n\nhint: did you mean RUN?\n"
    )


WRONG = {
    "flag": ("FROM busybox\nCOPY --form=a b /\n", 2, "unknown flag: --form", "did you mean --from?"),
    "arguments": ("FROM busybox\nCOPY a\n", 2, "COPY requires at least two arguments", ""),
    "no-from": ("RUN true\n", 1, "no build stage", ""),
    "empty": ("", 1, "empty", ""),
    "heredoc": ("FROM busybox\nRUN <<E\ntrue\n", 2, "unterminated heredoc", ""),
    "expansion": ("ARG X=${\nFROM busybox\n", 1, "missing '}'", ""),
    "source": ("FROM busybox\nCOPY main.py /\n", 2, "main.py is not in the build context", "did you mean"),
    "ignored": ("FROM busybox\nCOPY secret /\n", 2, "secret is not in the build", "line 2 of .dockerignore"),
    "stage": ("FROM busybox AS make\nCOPY --from=mkae / /\n", 2, "mkae", "did you mean make?"),
    "user": ("FROM busybox\nCOPY --chown=me maim.py /\n", 2, "no user 'me'", "create the user"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_dockerfile(busybox, tmp_path, name):
    """What a person can write wrongly is told with its line and a hint where there is one."""
    text, line, message, hint = WRONG[name]
    files = {"Dockerfile": text, "maim.py": "", "secret": "", ".dockerignore": "# no\nsecret\n"}

    told = fails(busybox, write(tmp_path, files))

    assert message in told.rpartition("error: ")[2]
    assert hint in told
    if text:
        assert f"Dockerfile:{line}\n{FRAME}\n" in told
        assert f"{line:4} | >>> {text.splitlines()[line - 1]}\n" in told


def test_dockerfile_from_standard_input(busybox, tmp_path):
    """A Dockerfile without a file has an excerpt, too; a folder without one is told."""
    told = fails(busybox, tmp_path, "-f", "-", input=b"FROM busybox\nFORM x\n")
    assert f"-:2\n{FRAME}\n   1 |     FROM busybox\n   2 | >>> FORM x\n{FRAME}\n" in told
    assert "hint: did you mean FROM?" in told

    assert "Dockerfile does not exist" in fails(busybox, tmp_path)


def test_wrong_ignore_file(busybox, tmp_path):
    """An error in .dockerignore points into that file."""
    told = fails(busybox, write(tmp_path, {"Dockerfile": "FROM busybox\n", ".dockerignore": "*.log\n!\n"}))

    assert f".dockerignore:2\n{FRAME}\n   1 |     *.log\n   2 | >>> !\n{FRAME}\n" in told


def test_trigger(busybox, tmp_path):
    """A trigger of the base image fails at the FROM that fired it, and is quoted there."""
    write(tmp_path, {"Dockerfile": "FROM busybox\nONBUILD COPY nothing /\n"})
    busybox.build(tmp_path, "-t", "base")
    told = fails(busybox, write(tmp_path, {"Dockerfile": "# x\nFROM base\nENV A=1\n"}))

    assert "   2 | >>> FROM base\n     | >>> ONBUILD COPY nothing /\n   3 |     ENV A=1\n" in told
    assert "nothing is not in the build context" in told


def test_wrong_usage(busybox, tmp_path):
    """Options that do not exist have status 2; contradictions are told before anything runs."""
    write(tmp_path, {"Dockerfile": "FROM busybox\n"})
    assert busybox("--nope", tmp_path, check=False).returncode == 2
    assert busybox("run", "--nope", check=False).returncode == 2
    assert "nothing to push" in busybox("--push", tmp_path, check=False).stderr
    assert "does not exist" in busybox(tmp_path / "no", check=False).stderr
    done = busybox("-t", "UPPER", tmp_path, check=False)
    assert (done.returncode, "lower case" in done.stderr) == (1, True)


@pytest.mark.userns
def test_failing_command(busybox, tmp_path):
    """The end of a failing command's output is shown, without what would change a terminal."""
    command = r"printf '\033[31mred\033[0m\n\007progress 1%%\rprogress 2%%\n'; echo lost >&2; exit 42"
    files = {"Dockerfile": f"FROM busybox\nRUN echo done > /done\nRUN {command}\n"}

    told = fails(busybox, write(tmp_path, files), "--progress", "quiet")

    assert "------\n > red\n > progress 2%\n > lost\n------\n" in told
    assert f"   3 | >>> RUN {command}\n" in told
    assert told.rstrip().endswith("exit code 42")
    write(tmp_path, {"Dockerfile": "FROM busybox\nRUN echo done > /done\nRUN cat /done\n"})
    rest = busybox.build(tmp_path)
    assert re.search(r"(#\d+) \[2/3\] RUN echo done > /done\n\1 CACHED", rest.stderr)


@pytest.mark.userns
def test_commands_that_cannot_run(busybox, tmp_path):
    """No such program, no such user, a folder as program: failures of the build, not of pybuild."""
    for text, message in {
        'RUN ["/no/such"]': "no such file or directory",
        'RUN ["/etc"]': "exit code 126",
        "USER nobody-here\nRUN true": "nobody-here",
        'SHELL ["/bin/nosh", "-c"]\nRUN true': "/bin/nosh",
    }.items():
        assert message in fails(busybox, write(tmp_path, {"Dockerfile": f"FROM busybox\n{text}\n"}))


@pytest.fixture
def small_disk(tmp_path, archives):
    """A store on a filesystem of 16 MB, with busybox."""
    need("mount", "umount", what="root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=True)
    try:
        pybuild = Pybuild(folder / "store")
        make_base("busybox", pybuild, archives)
        yield pybuild
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.userns
def test_full_disk(small_disk, tmp_path):
    """A layer that does not fit: status 3 and a hint; afterwards there is as much space as before."""
    folder = write(tmp_path / "c", {"Dockerfile": "FROM busybox\nCOPY first /\nCOPY large /\n", "first": "1"})
    (folder / "large").write_bytes(os.urandom(20 << 20))
    told = fails(small_disk, folder, status=3)
    assert "no space left on the device" in told
    assert "   3 | >>> COPY large /\n" in told
    assert "hint: free some space" in told
    assert free(small_disk) > 8 << 20

    write(folder, {"Dockerfile": "FROM busybox\nCOPY first /\nRUN head -c 7000000 /dev/urandom > /x\n"})
    told = fails(small_disk, folder, status=3)
    assert "no space left on the device" in told
    assert re.search(r"(#\d+) \[2/3\] COPY first /\n\1 CACHED", told)

    write(folder, {"Dockerfile": "FROM busybox\nCOPY first /\nRUN cat /dev/zero > /x\n"})
    told = fails(small_disk, folder, status=1)
    assert "No space left on device" in told
    assert "hint: free some space" in told

    write(folder, {"Dockerfile": "FROM busybox\nCOPY first /\nRUN cat /first\n"})
    small_disk.build(folder, "-t", "good")


@pytest.mark.userns
def test_disk_without_a_byte(small_disk, tmp_path):
    """Nothing at all can be written: status 3; what is there is still listed, and works afterwards."""
    folder = write(tmp_path / "c", {"Dockerfile": "FROM busybox\nRUN echo 1 > /1\n"})
    filler = small_disk.root / "filler"
    with filler.open("wb", buffering=0) as stream:
        while free(small_disk):
            stream.write(bytes(4096))

    for step in ("RUN echo 1 > /1", "COPY Dockerfile /", "CMD true"):
        write(folder, {"Dockerfile": f"FROM busybox\n{step}\n"})
        fails(small_disk, folder, status=3)
    assert "busybox" in small_disk("images").stdout
    filler.unlink()
    small_disk.build(folder, "-t", "good")


def free(pybuild):
    """Free bytes of the filesystem of a store."""
    found = os.statvfs(pybuild.root)
    return found.f_bavail * found.f_frsize


def test_store_that_cannot_be_written(tmp_path):
    """A store at a place that is no directory: status 3 with the place."""
    write(tmp_path, {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "file": ""})
    done = Pybuild(tmp_path / "file" / "store").build(tmp_path, check=False)

    assert done.returncode == 3
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_registry(busybox, tmp_path):
    """Nobody listens there: the name of the image, the address, the reason."""
    name = f"127.0.0.1:{free_port()}/x"
    told = fails(busybox, write(tmp_path, {"Dockerfile": f"FROM {name}\nRUN true\n"}))
    assert f"   1 | >>> FROM {name}\n" in told
    assert f"cannot resolve {name}" in told
    assert "connect" in told

    done = busybox("pull", name, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    busybox("tag", "busybox", name)
    done = busybox("push", name, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def liars():
    """Registries that do not tell the truth, by name: how they answer."""
    parts = image()
    true = honest(parts)
    layer, config = (path for path in reversed(parts) if path.startswith("/"))

    def instead(path, *answer):
        return lambda asked: answer if path in asked else true(asked)

    octets = {"Content-Type": "application/octet-stream"}
    kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    nowhere = {"Location": "/v2/x/manifests/latest"}
    terminal = b'{"errors":[{"code":"DENIED","message":"\\u001b[2J\\u001b]0;owned\\u0007 no"}]}'
    return {
        "layer-of-other-bytes": instead(layer, 200, octets, b"\1" * 10240),
        "layer-too-short": instead(layer, 200, octets, b"\0" * 100),
        "layer-too-long": instead(layer, 200, octets, b"\0" * 20480),
        "layer-broken-off": instead(layer, 200, {**octets, "Content-Length": "10240"}, b"\0" * 100),
        "layer-missing": instead(layer, 404, {}, b""),
        "config-of-other-bytes": instead(config, 200, octets, b"{}"),
        "manifest-no-json": instead("/manifests/", 200, kind, b"<html>"),
        "manifest-other-digest": instead(
            "/manifests/", 200, {**kind, "Docker-Content-Digest": digest(b"x")}, parts["manifest"]
        ),
        "manifest-huge": instead("/manifests/", 200, kind, b" " * (8 << 20)),
        "size-too-small": honest(image(size=10)),
        "size-huge": honest(image(size=1 << 62)),
        "size-negative": honest(image(size=-1)),
        "in-circles": instead("/manifests/", 307, nowhere, b""),
        "broken-server": instead("/manifests/", 500, {}, b"oops"),
        "terminal-codes": instead("/manifests/", 403, {"Content-Type": "application/json"}, terminal),
        "no-registry": lambda _: (200, {"Content-Type": "text/html"}, b"<html>hello</html>"),
        "unauthorized": lambda _: (401, {}, b""),
        "strange-challenge": lambda _: (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b""),
    }


@pytest.mark.userns
@pytest.mark.parametrize("name", liars())
def test_lying_registry(busybox, tmp_path, name):
    """Whatever a registry says, the build fails with one message, and nothing of it is kept."""
    with serving(liars()[name]) as place:
        write(tmp_path, {"Dockerfile": f"FROM {place}/x\nCOPY Dockerfile /\n"})
        told = fails(busybox, tmp_path)
        assert "   1 | >>> FROM " in told or "   2 | >>> COPY " in told
        done = busybox("pull", f"{place}/x", check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr
    nothing_left(busybox)
    assert busybox("inspect", f"{place}/x", check=False).returncode == 1
    kept = os.listdir(busybox.root / "blobs" / "sha256")
    assert digest(b"\0" * 10240).removeprefix("sha256:") not in kept


def test_honest_registry(busybox, tmp_path):
    """The registry of these tests is believed when it tells the truth."""
    with serving(honest(image())) as place:
        write(tmp_path, {"Dockerfile": f"FROM {place}/x\nCOPY Dockerfile /\n"})
        busybox.build(tmp_path, "-t", "good")


def damage(pybuild, name, what):
    """Flip a bit of a blob of an image."""
    index = json.loads((pybuild.root / "index.json").read_text())
    key = "org.opencontainers.image.ref.name"
    found = [one["digest"] for one in index["manifests"] if one["annotations"][key] == name]
    folder = pybuild.root / "blobs"
    manifest = json.loads((folder / found[0].replace(":", "/")).read_text())
    entries = {"manifest": found[0], "config": manifest["config"]["digest"]}
    path = folder / {**entries, "layer": manifest["layers"][0]["digest"]}[what].replace(":", "/")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.userns
@pytest.mark.parametrize("what", ["layer", "manifest", "config"])
def test_damaged_store(busybox, registry, tmp_path, what):
    """Bytes that rotted are noticed by whoever uses them, and pulling again mends them."""
    name = f"{registry.name}/base:latest"
    busybox("tag", "busybox", name)
    busybox("push", name)
    busybox("rmi", name, "busybox")
    busybox("pull", name)
    damage(busybox, name, what)
    write(tmp_path, {"Dockerfile": f"FROM {name}\nRUN true\n"})

    done = busybox("push", name.replace("base", "copy"), check=False)
    assert done.returncode == 1
    for verb in (("save", "-o", tmp_path / "x.tar", name), ("run", name, "true"), ("-t", "bad", tmp_path)):
        damaged = (
            busybox(*verb, "--progress", "plain", check=False)
            if verb[0] == "-t"
            else busybox(*verb, check=False)
        )
        if broken_blobs(busybox.root):
            assert damaged.returncode == (125 if verb[0] == "run" else 1), damaged.stderr
            assert "Traceback" not in damaged.stderr
            assert not (tmp_path / "x.tar").exists()

    busybox("pull", name)
    busybox.build(tmp_path, "-t", "good")
    assert broken_blobs(busybox.root) == []
    assert temporary(busybox.root) == []


@pytest.mark.parametrize("what", ["layer", "manifest", "config"])
def test_damaged_push(busybox, registry, what):
    """What rotted is not pushed."""
    name = f"{registry.name}/base:latest"
    busybox("tag", "busybox", name)
    damage(busybox, name, what)

    done = busybox("push", name, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "damaged" in done.stderr
    assert json.loads(registry.get("/v2/_catalog"))["repositories"] in ([], ["base"])
    assert busybox("pull", name, check=False).returncode == 1


def test_broken_index(busybox, tmp_path):
    """A list of names that cannot be read is not overwritten."""
    (busybox.root / "index.json").write_text('{"manifests": [')
    write(tmp_path, {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    done = busybox.build(tmp_path, "-t", "bad", check=False)

    assert done.returncode == 3
    assert "index.json is not valid JSON" in done.stderr
    assert (busybox.root / "index.json").read_text() == '{"manifests": ['
