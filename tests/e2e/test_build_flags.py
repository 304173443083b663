"""Every flag of the build does what docker's does."""

import io
import json
import re
import tarfile

import pytest

pytestmark = pytest.mark.userns


@pytest.fixture
def context(tmp_path):
    """A context of two stages that shows its arguments."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "ARG BASE=busybox\nFROM ${BASE} AS first\nARG WHO=nobody\nCOPY f /f\nRUN echo $WHO > /who\n"
        "FROM first AS second\nENV STAGE=second\nLABEL from=file keep=yes\n"
    )
    (folder / "f").write_text("content\n")
    return folder


def test_build_arg(busybox, context):
    """Values come from the flag, or by name from the environment; one that nobody declares is a warning."""
    busybox.build(context, "-t", "a", "--build-arg", "WHO=me")
    busybox.build(context, "-t", "b", "--build-arg", "WHO", env={"WHO": "you"})
    done = busybox.build(context, "-t", "c", "--build-arg", "OTHER=1", "--build-arg", "GONE")

    assert [busybox("run", name, "cat", "/who").stdout for name in "abc"] == ["me\n", "you\n", "nobody\n"]
    assert "build-args [OTHER] were not consumed" in done.stderr


def test_target_and_labels(busybox, context):
    """A target stops at its stage; labels of the command line come last."""
    busybox.build(context, "-t", "one", "--target", "FIRST")
    busybox.build(context, "-t", "two", "--label", "from=flag", "--label", "new=1")

    assert "STAGE=second" not in busybox.image("one")["Config"]["Env"]
    assert busybox.image("two")["Config"]["Labels"] == {"from": "flag", "keep": "yes", "new": "1"}
    done = busybox.build(context, "--target", "third", check=False)
    assert done.returncode == 1
    assert "third" in done.stderr


def test_dockerfile_from_elsewhere(busybox, context, tmp_path):
    """-f names a file outside the context, or standard input."""
    (tmp_path / "Other").write_text("FROM busybox\nCOPY f /other\n")

    busybox.build(context, "-t", "file", "-f", tmp_path / "Other")
    busybox.build(context, "-t", "stdin", "-f", "-", input=b"FROM busybox\nCOPY f /stdin\n")

    assert busybox("run", "file", "cat", "/other").stdout == "content\n"
    assert busybox("run", "stdin", "cat", "/stdin").stdout == "content\n"


def test_files_with_results(busybox, context, tmp_path):
    """The image ID is all of standard output, and in the file; the metadata have the digests."""
    done = busybox.build(
        context,
        *("-t", "x:1", "-t", "y:2"),
        "--iidfile",
        tmp_path / "iid",
        "--metadata-file",
        tmp_path / "meta",
    )

    identity = busybox.image("x:1")["Id"]
    assert done.stdout == identity + "\n"
    assert (tmp_path / "iid").read_text() == identity
    meta = json.loads((tmp_path / "meta").read_text())
    assert meta["containerimage.config.digest"] == identity == busybox.image("y:2")["Id"]
    assert meta["containerimage.digest"] == busybox.image("x:1")["Descriptor"]["digest"]


def test_results_stay_here(busybox, context):
    """--load is what happens anyway; with cacheonly the steps are kept, and nothing gets a name."""
    loaded = busybox.build(context, "--load", "-t", "loaded")
    cached = busybox.build(context, "-o", "type=cacheonly", "-t", "nothing")

    assert busybox.image("loaded")["Id"] == loaded.stdout.strip() == cached.stdout.strip()
    assert "CACHED" in cached.stderr
    assert busybox("inspect", "nothing", check=False).returncode == 1


def test_a_frontend_that_is_not_built_in(busybox, context):
    """BUILDKIT_SYNTAX may name docker/dockerfile, as the directive may, and no other."""
    busybox.build(context, "--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1.7")
    done = busybox.build(context, "--build-arg", "BUILDKIT_SYNTAX=team/frontend:2", check=False)
    assert done.returncode == 1
    assert "BUILDKIT_SYNTAX=team/frontend:2: unsupported syntax frontend" in done.stderr


def test_quiet_and_json(busybox, context):
    """-q prints the ID alone; json prints one object on each line."""
    quiet = busybox("-q", context)
    assert (quiet.stderr, quiet.stdout[:7]) == ("", "sha256:")

    events = [
        json.loads(line) for line in busybox("--progress", "json", "--no-cache", context).stderr.splitlines()
    ]
    assert {"step-started", "step-done"} <= {event["event"] for event in events}
    assert any(event.get("name", "").endswith("COPY f /f") and event["line"] == 4 for event in events)


def test_no_cache(busybox, context):
    """--no-cache runs everything again, and gives the same image."""
    first = busybox.build(context)
    again = busybox.build(context, "--no-cache")

    assert "CACHED" not in again.stderr
    assert again.stdout == first.stdout


def test_network(busybox, tmp_path):
    """RUN sees only loopback with none, and everything with host; other words are refused."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text("FROM busybox\nRUN ls /sys/class/net > /net\n")
    for mode in ("none", "host", "default"):
        busybox.build(tmp_path / "c", "--network", mode, "-t", mode, "--no-cache")
    seen = {mode: busybox("run", mode, "cat", "/net").stdout.split() for mode in ("none", "host", "default")}

    assert seen["none"] == ["lo"]
    assert seen["host"] != ["lo"]
    assert seen["default"] in (["eth0", "lo"], seen["host"])
    assert busybox.build(tmp_path / "c", "--network", "bridge", check=False).returncode == 1


def test_platform(busybox, tmp_path):
    """Files can be copied for any platform; commands of another one fail with a word about it."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(
        "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /d\nENV A=$TARGETARCH\n"
    )
    busybox.build(tmp_path / "c", "--platform", "linux/arm64", "-t", "arm")
    assert busybox.image("arm")["Architecture"] == "arm64"
    assert "A=arm64" in busybox.image("arm")["Config"]["Env"]


def test_output_on_standard_output(busybox, context):
    """An archive on standard output is all that is there."""
    for output, name in (("-", "who"), ("type=tar", "who"), ("type=oci", "index.json")):
        process = busybox.start("--progress", "quiet", "-o", output, context)
        out, err = process.communicate(timeout=120)

        assert process.returncode == 0, err.decode()
        assert err.startswith(b"sha256:")
        with tarfile.open(fileobj=io.BytesIO(out)) as archive:
            assert name in archive.getnames()


def test_outputs_that_do_not_exist(busybox, context, tmp_path):
    """Unknown types and attributes are refused before anything runs."""
    for output in ("type=tarball,dest=x", "type=local", "type=oci,dest=x,colour=red", "oops,type=oci"):
        done = busybox.build(context, "-o", output, check=False)
        assert done.returncode == 1, output
        assert "#1" not in done.stderr
    for output in (f"type=oci,dest={context}", f"type=local,dest={context}/f", f"{context}/f"):
        done = busybox.build(context, "-o", output, check=False)
        assert done.returncode == 1
        assert re.search(r"cannot write \S+: it is (a|no) directory", done.stderr)
        assert "#1" not in done.stderr
    busybox.build(context, "-o", f"type=tar,dest={tmp_path}/no/such/folder/x.tar")
    assert tarfile.is_tarfile(tmp_path / "no/such/folder/x.tar")


def test_plan(busybox, context):
    """--plan prints the steps and builds nothing."""
    done = busybox("--plan", context)

    assert "COPY f /f" in done.stdout
    assert busybox("images", "-q").stdout.count("\n") == 1


def test_containerfile(busybox, tmp_path):
    """Without a Dockerfile a dockerfile or Containerfile is taken; without any the error says so."""
    (tmp_path / "c").mkdir()
    assert "Dockerfile" in busybox.build(tmp_path / "c", check=False).stderr
    (tmp_path / "c" / "Containerfile").write_text("FROM busybox\nENV C=1\n")
    busybox.build(tmp_path / "c", "-t", "c")

    assert "C=1" in busybox.image("c")["Config"]["Env"]
    (tmp_path / "c" / "dockerfile").write_text("FROM busybox\nENV D=1\n")
    busybox.build(tmp_path / "c", "-t", "d")
    assert "D=1" in busybox.image("d")["Config"]["Env"]


def test_values_that_scripts_leave_empty(busybox, context):
    """A flag without a value is no flag, as with docker: scripts write --secret "$SECRET"."""
    names = ("secret", "ssh", "output", "annotation", "allow", "cache-from", "cache-to", "build-context")
    flags = [word for name in (*names, "add-host", "no-cache-filter") for word in (f"--{name}", "")]
    assert busybox.build(context, *flags).stdout == busybox.build(context).stdout
    assert "nothing to push" not in busybox.build(context, "-o", "", "-t", "named").stderr
    assert busybox.image("named")


def test_answers_of_calls_in_a_file(busybox, context, tmp_path):
    """--metadata-file has what --call answers, as JSON and as text."""
    done = busybox("--call=targets", "--metadata-file", tmp_path / "meta", context)
    told = json.loads((tmp_path / "meta").read_text())
    assert [target["name"] for target in told["result.json"]["targets"]] == ["first", "second"]
    assert told["result.txt"] == done.stdout


@pytest.mark.parametrize("context", ["-", "https://example.com/x.git", "git@example.com:x", "/nowhere"])
def test_contexts_that_are_refused(busybox, context):
    """Remote contexts are named as not supported, others as not there."""
    done = busybox.build(context, check=False)

    assert done.returncode == 1
    assert context in done.stderr or "standard input" in done.stderr


def test_a_limit_of_the_environment_that_makes_no_sense(busybox, context):
    """It is told, also where everything is cached."""
    busybox.build(context)
    done = busybox.build(context, check=False, env={"PYBUILD_CACHE_LIMIT": "lots"})
    assert done.returncode == 1
    assert "error: PYBUILD_CACHE_LIMIT: invalid size" in done.stderr
