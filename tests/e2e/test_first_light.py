"""From a Dockerfile to an image that other tools run: the story that everything else serves."""

import json

import pytest

from tests.e2e.clients import skopeo, umoci

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]


def write(folder, files):
    """Make files below a folder; a value is text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def context(tmp_path):
    """A small application with an ignored file."""
    return write(
        tmp_path / "context",
        {
            "Dockerfile": (
                "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN wc -c main.sh > size && id -u >> size\n"
                'ENV GREETING=hello\nLABEL a=b\nCMD ["sh", "main.sh"]\n'
            ),
            ".dockerignore": "*.log\n",
            "main.sh": 'echo "$GREETING from $(pwd)"\n',
            "debug.log": "not for the image\n",
        },
    )


def test_build_and_run(busybox, context):
    """A Dockerfile with COPY and RUN builds; the image runs with its environment and directory."""
    busybox.build(context, "-t", "app:1")

    assert busybox("run", "--rm", "app:1").stdout == "hello from /app\n"
    assert busybox("run", "app:1", "cat", "size").stdout.split() == ["29", "main.sh", "0"]
    assert busybox("run", "app:1", "ls").stdout.split() == ["Dockerfile", "main.sh", "size"]


def test_exit_status_passes_through(busybox):
    """What the program ends with, pybuild run ends with; signals are 128 more, unknown commands 127."""
    assert busybox("run", "busybox", "sh", "-c", "exit 42", check=False).returncode == 42
    assert busybox("run", "busybox", "no-such-command", check=False).returncode == 127
    assert busybox("run", "busybox", "/etc/passwd", check=False).returncode == 126


def test_second_build_is_cached(busybox, context):
    """Nothing changed, so nothing runs; an edited file runs what follows it and nothing else."""
    first = busybox.build(context, "-t", "app:1")
    assert "CACHED" not in first.stderr.replace("FROM", "")

    again = busybox.build(context, "-t", "app:1")
    assert again.stdout == first.stdout
    assert again.stderr.count("CACHED") >= 3

    (context / "main.sh").write_text("echo changed\n")
    edited = busybox.build(context, "-t", "app:1")
    assert edited.stdout != first.stdout
    cached = [line for line in edited.stderr.splitlines() if line.endswith("CACHED")]
    assert len(cached) == 2  # FROM and WORKDIR


def test_failing_command(busybox, tmp_path):
    """A failing RUN shows its output, its line and its status; no image and no file with an ID is left."""
    write(tmp_path / "c", {"Dockerfile": "FROM busybox\n\nRUN echo before && exit 7\n"})
    (tmp_path / "iid").write_text("old")

    done = busybox.build(tmp_path / "c", "-t", "bad", "--iidfile", tmp_path / "iid", check=False)

    assert done.returncode == 1
    assert "exit code 7" in done.stderr.replace("exit code: 7", "exit code 7")
    assert ">>> RUN echo before && exit 7" in done.stderr
    assert "before" in done.stderr
    assert not (tmp_path / "iid").exists()
    assert busybox("inspect", "bad", check=False).returncode == 1


def test_other_tools_read_the_store(busybox, context, tmp_path):
    """The local store is an OCI image layout: skopeo inspects and copies it, umoci unpacks it."""
    busybox.build(context, "-t", "app:1")

    told = json.loads(skopeo("inspect", f"oci:{busybox.root}:app:1").stdout)
    assert told["Labels"] == {"a": "b"}
    skopeo("copy", f"oci:{busybox.root}:app:1", f"dir:{tmp_path / 'copied'}")
    umoci("unpack", "--image", f"{busybox.root}:app:1", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "rootfs" / "app" / "size").read_text().startswith("29 main.sh")


def test_pushed_and_pulled(busybox, context, registry, tmp_path):
    """What was pushed comes back as the same image, for us and for skopeo."""
    name = f"{registry.name}/team/app:1"
    identity = busybox.build(context, "-t", name, "--push").stdout.split()[0]

    assert json.loads(registry.get("/v2/_catalog")) == {"repositories": ["team/app"]}
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path / 'layout'}:x")
    busybox("rmi", name)
    busybox("pull", name)
    assert busybox.image(name)["Id"] == identity
    assert busybox("run", name).stdout == "hello from /app\n"


def test_reproducible(busybox, context, archives, tmp_path):
    """Two stores give the same image ID and the same pushed digest."""
    from tests.e2e.support import Pybuild, make_base

    other = Pybuild(tmp_path / "other")
    make_base("busybox", other, archives)
    outcomes = []
    for one in (busybox, other):
        meta = tmp_path / f"meta-{one.root.name}.json"
        one.build(context, "-t", "app:1", "--metadata-file", meta)
        one("save", "--format", "oci", "-o", tmp_path / f"{one.root.name}.tar", "app:1")
        outcomes.append((meta.read_text(), (tmp_path / f"{one.root.name}.tar").read_bytes()))

    assert outcomes[0] == outcomes[1]
