"""Build contexts that are not the directory of the command line: named, fetched, or from standard input."""

import gzip
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import time

import pytest

from tests.e2e.support import free_port, need, wait_for


def listed(pybuild, tmp_path, context, *flags, **kwargs):
    """Build; the files of the result with their content."""
    target = tmp_path / "out.tar"
    target.unlink(missing_ok=True)
    pybuild.build(context, "-o", f"type=tar,dest={target}", *flags, **kwargs)
    with tarfile.open(target) as tar:
        return {m.name: tar.extractfile(m).read().decode("utf-8", "replace") for m in tar if m.isreg()}


def folder(path, files):
    """A directory with files."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def packed(files, **times):
    """A tar archive in memory; `times` are those of files, the others have none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.uid = 12345
            member.mtime = times.get(name, 0)
            tar.addfile(member, io.BytesIO(content.encode()))
    return out.getvalue()


@pytest.fixture
def site(tmp_path):
    """A directory over HTTP."""
    root = tmp_path / "site"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_directory_in_the_place_of_an_image(pybuild, tmp_path):
    """FROM and --from mean it before stages and images; its ignore file counts, changes rerun."""
    other = folder(tmp_path / "other", {"f": "F", "g": "G", "left-out": "", ".dockerignore": "left-out\n"})
    context = folder(
        tmp_path / "c",
        {
            "Dockerfile": "FROM scratch AS base\nFROM base\nCOPY --from=example.com/tools:1 f /t/\n"
            "COPY --from=base g /g\n"
        },
    )
    flags = ["--build-context", f"base={other}", "--build-context", f"example.com/tools:1={other}"]
    found = listed(pybuild, tmp_path, context, *flags)
    assert (found["f"], found["t/f"], found["g"]) == ("F", "F", "G")
    assert "left-out" not in found
    (other / "f").write_text("new")
    assert listed(pybuild, tmp_path, context, *flags)["t/f"] == "new"


@pytest.mark.userns
def test_a_directory_to_mount(busybox, tmp_path):
    """RUN --mount=from means it, too."""
    other = folder(tmp_path / "other", {"f": "F"})
    context = folder(
        tmp_path / "c",
        {"Dockerfile": "FROM busybox\nRUN --mount=from=other,target=/in cp /in/f /made\n"},
    )
    busybox.build(context, "-t", "x", "--build-context", f"other={other}")
    assert busybox("run", "x", "cat", "/made").stdout == "F"


def test_an_image_in_the_place_of_another(busybox, tmp_path):
    """`alpine` and `docker.io/library/alpine:latest` are one name."""
    context = folder(
        tmp_path / "c", {"Dockerfile": "FROM alpine\nCOPY --from=nothing.example/x /bin/sh /y\n"}
    )
    flags = [
        *("--build-context", "docker.io/library/alpine:latest=docker-image://busybox"),
        *("--build-context", "nothing.example/x=docker-image://busybox"),
    ]
    done = busybox.build(context, "-t", "x", *flags)
    assert "FROM docker.io/library/busybox:latest@" in done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("x", "expected NAME=VALUE"),
        ("x=/does/not/exist", "is not a directory"),
        ("x=docker-image://UPPER", "--build-context x=docker-image://UPPER"),
        ("x=oci-layout:///tmp/none", "/tmp/none is no OCI image layout"),
        ("x=oci-layout://:1", "the path is missing"),
        ("x=target:y", "--build-context x=target:y: the Dockerfile has no such stage"),
        ("x=target:", "the name of a stage is missing"),
    ],
)
def test_wrong_contexts(pybuild, tmp_path, flag, message):
    """Each is an error that says what."""
    context = folder(tmp_path / "c", {"Dockerfile": "FROM scratch\nCOPY --from=x a /\n"})
    done = pybuild.build(context, "--build-context", flag, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_an_archive_behind_a_url_by_name(pybuild, tmp_path, site):
    """It is unpacked; what is no archive is an error."""
    root, url = site
    (root / "a.tgz").write_bytes(gzip.compress(packed({"d/f": "F"})))
    (root / "text").write_text("no archive")
    context = folder(tmp_path / "c", {"Dockerfile": "FROM scratch\nCOPY --from=far d/f /\n"})
    assert listed(pybuild, tmp_path, context, "--build-context", f"far={url}/a.tgz") == {"f": "F"}
    done = pybuild.build(context, "--build-context", f"far={url}/text", check=False)
    assert f"{url}/text is not an archive" in done.stderr


@pytest.fixture
def repository(tmp_path):
    """The address of a repository that a daemon serves."""
    git, root = need("git"), tmp_path / "served"
    work = folder(root / "app.git", {"Dockerfile": "FROM scratch\nCOPY . /\n", "sub/f": "F"})
    folder(work, {"sub/Dockerfile": "FROM scratch\nCOPY f /from-sub\n"})
    identity = ("-c", "user.name=x", "-c", "user.email=x@y.example")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run([git, *command], cwd=work, check=True)
    port = free_port()
    daemon = subprocess.Popen(
        [git, "daemon", "--export-all", f"--port={port}", "--listen=127.0.0.1", f"--base-path={root}", root],
        stderr=subprocess.DEVNULL,
    )
    url = f"git://127.0.0.1:{port}/app.git"
    ask = [git, "ls-remote", url]
    wait_for(lambda: not subprocess.run(ask, capture_output=True, check=False).returncode, "git daemon")
    yield url
    daemon.terminate()
    daemon.wait()


def test_a_repository_by_name(pybuild, tmp_path, repository):
    """Its files stand in for an image."""
    context = folder(tmp_path / "c", {"Dockerfile": "FROM scratch\nCOPY --from=repo f /\n"})
    assert listed(pybuild, tmp_path, context, "--build-context", f"repo={repository}#main:sub") == {"f": "F"}


def test_an_archive_on_standard_input(pybuild, tmp_path):
    """Compressed or not, with the Dockerfile anywhere in it and an ignore file."""
    files = {"Dockerfile": "FROM scratch\nCOPY . /\n", "f": "F", "no": "", ".dockerignore": "no\n"}
    for archive in (packed(files), gzip.compress(packed(files))):
        found = listed(pybuild, tmp_path, "-", input=archive)
        assert found["f"] == "F"
        assert "no" not in found
    archive = packed({"d/Other": "FROM scratch\nCOPY d/f /\n", "d/f": "F"})
    assert listed(pybuild, tmp_path, "-", "-f", "d/Other", input=archive) == {"f": "F"}
    again = pybuild.build("-", "-f", "d/Other", input=archive)
    assert "CACHED" in again.stderr


def test_a_dockerfile_on_standard_input(pybuild, tmp_path):
    """Its context is empty; its errors have its name."""
    found = listed(pybuild, tmp_path, "-", input=b"FROM scratch\nCOPY <<A /a\ntext\nA\nCOPY . /\n")
    assert found == {"a": "text\n"}
    done = pybuild.build("-", input=b"FROM scratch\nNONSENSE\n", check=False)
    assert "Dockerfile:2" in done.stderr
    with (tmp_path / "D").open("w+b") as file:
        file.write(b"FROM scratch\nCOPY <<A /b\nA\n")
        file.seek(0)
        assert listed(pybuild, tmp_path, "-", stdin=file) == {"b": ""}


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (b"", [], "standard input is empty"),
        (b"FROM scratch\n", ["-f", "x"], "-f x: the context is itself the Dockerfile"),
        (b"FROM scratch\n", ["-f", "-"], "cannot be the build context and the Dockerfile at once"),
        (packed({"a": "b"}), [], "the build context has no Dockerfile"),
        (packed({"a": "b"}), ["-f", "d/x"], "the build context has no file d/x"),
        (bytes(range(256)), [], "standard input is neither a Dockerfile nor an archive"),
        (packed({"a": "b"}), ["-f", "../../x"], "outside of the build context"),
        (packed({"../../evil": "b"}), [], "evil"),
        (gzip.compress(packed({"a": "b"}), mtime=0)[:-30], [], "error:"),
    ],
    ids=["empty", "missing", "twice", "no-file", "no-named-file", "binary", "outside", "climbs", "cut"],
)
def test_what_standard_input_may_not_be(pybuild, content, flags, message):
    """Each is an error that says what; nothing leaves the directory of the archive."""
    done = pybuild.build("-", *flags, input=content, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_a_dockerfile_that_is_a_link_out_of_the_archive(pybuild, tmp_path):
    """It is not read."""
    (tmp_path / "secret").write_text("FROM scratch\nLABEL secret=1\n")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(member)
    done = pybuild.build("-", input=out.getvalue(), check=False)
    assert done.returncode == 1
    assert "LABEL" not in done.stderr


def test_a_repository_as_context(pybuild, tmp_path, repository):
    """A part of it, another Dockerfile of it, its git directory on request."""
    assert listed(pybuild, tmp_path, repository) == {
        "Dockerfile": "FROM scratch\nCOPY . /\n",
        "sub/Dockerfile": "FROM scratch\nCOPY f /from-sub\n",
        "sub/f": "F",
    }
    assert listed(pybuild, tmp_path, f"{repository}#main:sub") == {"from-sub": "F"}
    flags = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]
    assert ".git/HEAD" in listed(pybuild, tmp_path, repository, *flags)
    done = pybuild.build(f"{repository}#none", check=False)
    assert "has no ref none" in done.stderr


def test_the_time_of_a_context(pybuild, tmp_path, repository, site):
    """SOURCE_DATE_EPOCH=context is the time of the commit, by the server, or of the newest member."""
    root, url = site

    def created(context, *flags, **kwargs):
        flags = flags or ("--build-arg", "SOURCE_DATE_EPOCH=context")
        pybuild.build(context, "-t", "x", *flags, **kwargs)
        return pybuild.image("x")["Created"]

    def told(seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

    log = ["git", "log", "-1", "--format=%ct"]
    commit = int(subprocess.check_output(log, cwd=tmp_path / "served" / "app.git"))
    assert created(repository) == told(commit)
    assert created(f"{repository}#main:sub", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1") != told(commit)
    archive = root / "a.tar"
    archive.write_bytes(packed({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "F"}, f=1_234_567_890))
    os.utime(archive, (1_400_000_000, 1_400_000_000))
    assert created(f"{url}/a.tar") == told(1_400_000_000)
    assert created("-", input=archive.read_bytes()) == told(1_234_567_890)
    local = folder(tmp_path / "c", {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    assert created(local) == told(315_532_800)
    in_file = "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nCOPY f /\n"
    archive.write_bytes(packed({"Dockerfile": in_file, "f": "F"}, f=1_234_567_890))
    assert created("-", "--label", "a=b", input=archive.read_bytes()) == told(1_234_567_890)
    named = ("--build-arg", "SOURCE_DATE_EPOCH=repo", "--build-context", f"repo={repository}")
    assert created(local, *named) == told(commit)
    stage = f"FROM scratch AS repo\nADD {repository} /\nFROM scratch\nCOPY Dockerfile /\n"
    (local / "Dockerfile").write_text(stage)
    assert created(local, "--build-arg", "SOURCE_DATE_EPOCH=repo") == told(commit)


def test_urls_as_context(pybuild, tmp_path, site):
    """An archive, or a Dockerfile alone."""
    root, url = site
    (root / "a.tar").write_bytes(packed({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "F"}))
    (root / "alone").write_text("FROM scratch\nCOPY <<A /a\nA\n")
    assert listed(pybuild, tmp_path, f"{url}/a.tar") == {"f": "F"}
    assert listed(pybuild, tmp_path, f"{url}/alone") == {"a": ""}
    done = pybuild.build(f"{url}/none", check=False)
    assert f"cannot fetch {url}/none: 404" in done.stderr


def test_urls_as_dockerfile(pybuild, tmp_path, site):
    """-f takes a URL, with a directory as context or with an archive that is fetched as well."""
    root, url = site
    (root / "d").write_text("FROM scratch\nCOPY f /from-url\n")
    (root / "a.tar").write_bytes(packed({"Dockerfile": "FROM scratch\n", "f": "theirs"}))
    local = folder(tmp_path / "c", {"Dockerfile": "FROM scratch\n", "f": "mine"})
    assert listed(pybuild, tmp_path, local, "-f", f"{url}/d") == {"from-url": "mine"}
    assert listed(pybuild, tmp_path, f"{url}/a.tar", "-f", f"{url}/d") == {"from-url": "theirs"}
    done = pybuild.build(local, "-f", f"{url}/none", check=False)
    assert f"cannot fetch {url}/none: 404" in done.stderr


@pytest.fixture
def layout(pybuild, tmp_path):
    """An OCI layout with two images, `app:1` and `other:2`, made by another store."""
    other = type(pybuild)(tmp_path / "other-store")
    for name, content in (("app:1", "ONE"), ("other:2", "TWO")):
        context = folder(
            tmp_path / "made" / name,
            {"Dockerfile": f"FROM scratch\nENV FROM_LAYOUT={content}\nCOPY f /f\n", "f": content},
        )
        other.build(context, "-t", name)
    return other.root


@pytest.mark.parametrize("suffix", [":1", "@DIGEST", ":1@DIGEST"])
def test_an_image_of_a_layout(pybuild, tmp_path, layout, suffix):
    """By its tag or its digest; configuration and files are its own, and the layout is only read."""
    manifest = type(pybuild)(layout).image("app:1")["Descriptor"]["digest"]
    before = sorted(layout.rglob("*"))
    context = folder(tmp_path / "c", {"Dockerfile": "FROM base\nCOPY --from=base f /g\n"})
    value = f"oci-layout://{layout}{suffix.replace('DIGEST', manifest)}"
    found = listed(pybuild, tmp_path, context, "-t", "x", "--build-context", f"base={value}")
    assert found == {"f": "ONE", "g": "ONE"}
    assert "FROM_LAYOUT=ONE" in pybuild.image("x")["Config"]["Env"]
    assert sorted(layout.rglob("*")) == before


def test_what_a_layout_does_not_have(pybuild, tmp_path, layout):
    """Neither a tag nor a digest is guessed, and damage is noticed."""
    context = folder(tmp_path / "c", {"Dockerfile": "FROM base\n"})

    def failure(value):
        done = pybuild.build(context, "--build-context", f"base=oci-layout://{layout}{value}", check=False)
        assert done.returncode == 1
        return done.stderr

    assert "has no image 3" in failure(":3")
    assert "its images are: app:1, other:2" in failure("")
    assert "has no blob sha256:" in failure("@sha256:" + "0" * 64)
    layer = type(pybuild)(layout).image("app:1")["Manifest"]["layers"][0]["digest"].partition(":")[2]
    blob = layout / "blobs" / "sha256" / layer
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert f"sha256:{layer}" in failure(":1")


def test_another_stage_in_the_place_of_an_image(pybuild, tmp_path):
    """Below that stage the name means it; the stage itself may start from what it replaces."""
    other = folder(tmp_path / "other", {"f": "F"})
    text = (
        "FROM scratch AS made\nCOPY <<A /made\nA\n"
        "FROM tools AS final\nCOPY --from=tools:latest /made /again\n"
    )
    context = folder(tmp_path / "c", {"Dockerfile": text})
    found = listed(pybuild, tmp_path, context, "--build-context", "tools=target:made")
    assert set(found) == {"made", "again"}
    chained = folder(tmp_path / "d", {"Dockerfile": "FROM tools AS made\nFROM docker.io/library/tools\n"})
    with_directory = ["--build-context", f"base={other}", "--build-context", "tools=target:made"]
    done = pybuild.build(chained, *with_directory, "--call", "check", check=False)
    assert "tools" in done.stderr  # the stage itself asks for the image, which is nowhere


def test_a_stage_that_is_replaced(pybuild, tmp_path):
    """A context of its name takes the place of a stage: also as the target, and where it is counted."""
    other = folder(tmp_path / "other", {"f": "F"})
    text = "FROM scratch AS base\nCOPY nothing /\nFROM scratch\nCOPY --from=0 f /g\n"
    context = folder(tmp_path / "c", {"Dockerfile": text})
    flags = ["--build-context", f"base={other}"]
    assert listed(pybuild, tmp_path, context, *flags) == {"g": "F"}
    assert listed(pybuild, tmp_path, context, *flags, "--target", "base") == {"f": "F"}


def test_contexts_with_calls(pybuild, tmp_path, layout):
    """A plan, a check, an outline and the targets take named contexts as a build does."""
    other = folder(tmp_path / "other", {"f": "F"})
    text = "FROM base AS one\nARG x=1\nFROM far.example/none\nCOPY --from=one f /g\n"
    context = folder(tmp_path / "c", {"Dockerfile": text})
    flags = [
        *("--build-context", f"base=oci-layout://{layout}:1"),
        *("--build-context", f"far.example/none={other}"),
    ]
    plan = pybuild("--plan", *flags, context).stdout
    assert "load build context far.example/none" in plan
    assert f"FROM oci-layout://{layout}:1@sha256:" in plan
    assert pybuild("--check", *flags, context).returncode == 0
    assert "x" in pybuild("--call", "outline", "--target", "one", *flags, context).stdout
    assert "one" in pybuild("--call", "targets", *flags, context).stdout


def test_a_plan_fetches_nothing(pybuild, tmp_path):
    """What ADD would fetch is named; keys that hang on it are not told."""
    text = (
        "FROM scratch\nADD https://u:secret@none.invalid/a.txt /\n"
        "ADD https://none.invalid/r.git#main /r/\nFROM scratch\nCOPY <<A /a\nA\nCOPY --from=0 / /\n"
    )
    context = folder(tmp_path / "c", {"Dockerfile": text})
    plan = pybuild("--plan", context).stdout
    assert "https://none.invalid/a.txt, not fetched -> /" in plan
    assert "https://none.invalid/r.git#main, not fetched -> /r/" in plan
    assert plan.count("key not known before everything is fetched") == 3
    assert "secret" not in plan
    steps = json.loads(pybuild("--plan", "--progress", "json", context).stdout)["steps"]
    assert [step["digest"] is None for step in steps].count(True) == 3
