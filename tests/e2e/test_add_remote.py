"""ADD of URLs and git repositories, from servers of the test's own."""

import base64
import gzip
import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading

import pytest

from builder.sources.git import _cause
from tests.e2e.support import free_port, need, wait_for

TOKEN = "token-that-nobody-may-see-5150"
STAMP = "Sat, 03 Feb 2001 04:05:06 GMT"


class Site:
    """Files over HTTP with entity tags, and a list of what was asked."""

    def __init__(self):
        self.files, self.asked, self.headers = {}, [], {}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                site.serve(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, request):
        path = request.path.partition("?")[0]
        self.asked.append((path, request.headers.get("If-None-Match"), request.headers.get("Authorization")))
        if path == "/moved":
            self.answer(request, 302, b"", {"Location": "/a.txt"})
        elif path == "/short":
            self.answer(request, 200, b"half", {"Content-Length": "1000"})
            request.close_connection = True
        elif path not in self.files:
            self.answer(request, 404, b"no")
        else:
            body = self.files[path]
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            if request.headers.get("If-None-Match") == tag:
                self.answer(request, 304, b"")
            else:
                self.answer(request, 200, body, {"ETag": tag, **self.headers})

    def answer(self, request, status, body, headers=None):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def site():
    """A server with a few files."""
    made = Site()
    made.files = {"/a.txt": b"A\n", "/dir/b%20c.bin": b"B", "/x.tgz": archive()}
    yield made
    made.server.shutdown()
    made.server.server_close()


def archive():
    """A compressed archive with one file."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("inside")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"in"))
    return gzip.compress(plain.getvalue())


def built(pybuild, tmp_path, *lines, check=True, flags=()):
    """Build lines over nothing; returns what pybuild said, and the members of the result by name."""
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM scratch\n" + "".join(f"{line}\n" for line in lines))
    target = tmp_path / "out.tar"
    target.unlink(missing_ok=True)
    done = pybuild.build(context, "-t", "x", "-o", f"type=tar,dest={target}", *flags, check=check)
    if done.returncode:
        return done, {}
    with tarfile.open(target) as tar:
        return done, {
            member.name: (member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar
        }


def test_files_of_urls(pybuild, tmp_path, site):
    """Mode 0600, the server's time, the name of the URL below a directory; nothing is unpacked."""
    site.headers = {"Last-Modified": STAMP}
    _, found = built(
        pybuild,
        tmp_path,
        f"ADD {site.url}/a.txt?x=1 /d/",
        f"ADD {site.url}/dir/b%20c.bin /d/",
        f"ADD {site.url}/a.txt /plain",
        f"ADD --chown=3:4 --chmod=755 {site.url}/a.txt /styled",
        f"ADD {site.url}/x.tgz /packed/",
        f"ADD --unpack=true {site.url}/x.tgz /unpacked/",
        f"ADD {site.url}/moved /",
    )
    member, content = found["d/a.txt"]
    assert (content, member.mode, member.uid, member.mtime) == (b"A\n", 0o600, 0, 981173106)
    assert found["d/b c.bin"][1] == b"B"
    assert found["plain"][1] == b"A\n"
    assert (found["styled"][0].mode, found["styled"][0].uid, found["styled"][0].gid) == (0o755, 3, 4)
    assert found["packed/x.tgz"][1] == site.files["/x.tgz"]
    assert found["unpacked/inside"][1] == b"in"
    assert found["moved"][1] == b"A\n"


def test_a_file_without_a_time_gets_that_of_the_build(pybuild, tmp_path, site):
    """And a time after the epoch that was asked for is that epoch."""
    _, found = built(pybuild, tmp_path, f"ADD {site.url}/a.txt /")
    assert found["a.txt"][0].mtime == 315_532_800
    site.headers = {"Last-Modified": STAMP}
    site.files["/a.txt"] = b"other"
    _, found = built(
        pybuild, tmp_path, f"ADD {site.url}/a.txt /", flags=["--build-arg", "SOURCE_DATE_EPOCH=1000000"]
    )
    assert found["a.txt"][0].mtime == 1000000


def test_each_build_asks_whether_the_file_changed(pybuild, tmp_path, site):
    """By its entity tag; an unchanged one is a hit, a changed one is not, two steps ask once."""
    lines = [f"ADD {site.url}/a.txt /1", f"ADD {site.url}/a.txt /2"]
    built(pybuild, tmp_path, *lines)
    assert [tag for _, tag, _ in site.asked] == [None]
    again, _ = built(pybuild, tmp_path, *lines)
    assert again.stderr.count("CACHED") >= 2
    assert len(site.asked) == 2
    assert site.asked[1][1]
    site.files["/a.txt"] = b"changed"
    _, found = built(pybuild, tmp_path, *lines)
    assert found["2"][1] == b"changed"
    pybuild("rmi", "x")
    pybuild("prune", "--all", "--force", check=False)
    _, found = built(pybuild, tmp_path, *lines)
    assert found["1"][1] == b"changed"


def test_checksums(pybuild, tmp_path, site):
    """A wrong one is an error with both; with the right one a known file is not asked for again."""
    right = "sha256:" + hashlib.sha256(b"A\n").hexdigest()
    line = f"ADD --checksum={right} {site.url}/a.txt /"
    built(pybuild, tmp_path, line)
    built(pybuild, tmp_path, line)
    assert len(site.asked) == 1
    wrong = "sha256:" + 64 * "0"
    done, _ = built(pybuild, tmp_path, f"ADD --checksum={wrong} {site.url}/a.txt /", check=False)
    assert f"digest mismatch for {site.url}/a.txt: got {right}, expected {wrong}" in done.stderr
    for flag, message in (
        (f"--checksum=sha256:12 {site.url}/a.txt", "invalid checksum"),
        (f"--checksum={right} {site.url}/a.txt {site.url}/x.tgz", "single source only"),
        (f"--checksum={right} local", "requires HTTP(S) or Git"),
        (f"--keep-git-dir {site.url}/a.txt", "requires a Git source"),
    ):
        done, _ = built(pybuild, tmp_path, f"ADD {flag} /d/", check=False)
        assert done.returncode == 1
        assert message in done.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none", "404 Not Found"), ("/short", "broke off")],
)
def test_what_cannot_be_fetched(pybuild, tmp_path, site, path, message):
    """The error has the address, the reason and the line; no part of a file stays."""
    done, _ = built(pybuild, tmp_path, f"ADD {site.url}{path} /", check=False)
    assert done.returncode == 1
    assert f"cannot fetch {site.url}{path}" in done.stderr
    assert message in done.stderr
    assert "Dockerfile:2" in done.stderr


def test_nobody_listens(pybuild, tmp_path):
    """The system's reason is shown."""
    done, _ = built(pybuild, tmp_path, f"ADD http://127.0.0.1:{free_port()}/x /", check=False)
    assert "Connection refused" in done.stderr


def test_credentials_of_a_url(pybuild, tmp_path, site):
    """They are sent to their host, and shown and kept nowhere."""
    url = site.url.replace("://", f"://me:{TOKEN}@")
    done, _ = built(pybuild, tmp_path, f"ADD {url}/a.txt /")
    assert site.asked[0][2].startswith("Basic ")
    failed, _ = built(pybuild, tmp_path, f"ARG P=/none\nADD {url}$P /", check=False)
    assert TOKEN not in done.stderr + pybuild("history", "--no-trunc", "x", check=False).stdout
    assert TOKEN not in failed.stderr.split("------")[-1].splitlines()[-1]
    for folder, _, names in os.walk(pybuild.root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as stream:
                assert TOKEN.encode() not in stream.read(), name


def test_credentials_of_repositories(pybuild, tmp_path, site):
    """Secrets with the names that BuildKit gives them are sent to a repository, and shown nowhere."""
    host = site.url.partition("://")[2]
    basic = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    cases = [
        ({"GIT_AUTH_TOKEN": f"{TOKEN}\n"}, basic),
        ({"GIT_AUTH_TOKEN": "x", "GIT_AUTH_HEADER": f"Bearer {TOKEN}"}, f"Bearer {TOKEN}"),
        ({"GIT_AUTH_HEADER": "x", f"GIT_AUTH_TOKEN.{host}": TOKEN}, basic),
        ({f"GIT_AUTH_TOKEN.other.{host}": "x"}, None),
    ]
    for number, (secrets, expected) in enumerate(cases):
        (tmp_path / "secrets").mkdir(exist_ok=True)
        flags = []
        for name, value in secrets.items():
            (tmp_path / "secrets" / name).write_text(value)
            flags += ["--secret", f"id={name},src={tmp_path / 'secrets' / name}"]
        context = [f"{site.url}/{number}.git", "-"][number % 2]
        lines = f"FROM scratch\nADD {site.url}/{number}.git /\n".encode()
        site.asked.clear()
        done = pybuild.build(context, *flags, input=lines, check=False)
        assert f"cannot fetch {site.url}/{number}.git" in done.stderr
        assert site.asked[0][2] == expected
        assert TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Cloning\nfatal: no such thing\nmore\n", "no such thing"),
        (
            "ssh: connect to host h: refused\r\nfatal: Could not read from remote repository.\n\nMore\n",
            "ssh: connect to host h: refused",
        ),
        ("fatal: Could not read from remote repository.\n", "Could not read from remote repository."),
        (
            "fatal: unable to connect to h:\nh[0]: errno=Refused\n",
            "unable to connect to h: h[0]: errno=Refused",
        ),
        ("", "git failed"),
    ],
)
def test_what_git_says(said, cause):
    """The line that names the cause is told, which may be that of ssh."""
    assert _cause(said) == cause


class Repository:
    """A git repository and a daemon that serves it."""

    def __init__(self, folder):
        self.git = need("git")
        self.root = folder / "served"
        self.work = self.root / "app.git"
        self.work.mkdir(parents=True)
        self.run("init", "-q", "-b", "main")
        self.commit({"README": "one\n", "sub/deep/f": "F", "run.sh": "#!/bin/sh\n"})
        self.run("tag", "-a", "v1", "-m", "first")
        self.first = self.run("rev-parse", "HEAD")
        self.run("checkout", "-q", "-b", "side")
        self.commit({"side": "S"})
        self.run("checkout", "-q", "main")
        self.commit({"README": "two\n"})
        port = free_port()
        self.daemon = subprocess.Popen(
            [
                *(self.git, "daemon", "--reuseaddr", "--export-all", f"--port={port}"),
                *("--listen=127.0.0.1", f"--base-path={self.root}", str(self.root)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"git://127.0.0.1:{port}/app.git"
        wait_for(self.answers, "git daemon")

    def answers(self):
        asked = subprocess.run([self.git, "ls-remote", self.url], capture_output=True, check=False)
        return asked.returncode == 0

    def run(self, *arguments, work=None):
        env = {
            **os.environ,
            **{
                f"GIT_{who}_{what}": "x@y.example"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
        done = subprocess.run(
            [self.git, "-c", "protocol.file.allow=always", *arguments],
            cwd=work or self.work,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, files):
        for name, content in files.items():
            place = self.work / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
            if name.endswith(".sh"):
                place.chmod(0o700)
        self.run("add", "-A")
        self.run("commit", "-q", "-m", "change")

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


@pytest.fixture
def repository(tmp_path):
    """A repository with a tag, a branch and a directory."""
    made = Repository(tmp_path)
    yield made
    made.stop()


def test_refs_of_a_repository(pybuild, tmp_path, repository):
    """The default branch, a tag, a branch, a commit, a part of one; a directory; modes 644 and 755."""
    url, first = repository.url, repository.first
    _, found = built(
        pybuild,
        tmp_path,
        f"ADD {url} /main/",
        f"ADD {url}#v1 /tag",
        f"ADD {url}#side:sub/deep /deep",
        f"ADD {url}#{first} /commit",
        f"ADD {url}#{first[:10]} /short",
        f"ADD {url}?branch=side&subdir=sub /query",
        f"ADD {url}?tag=v1&checksum={first[:8]} /checked",
        f"ADD --checksum={first} --chown=7:8 --exclude=sub {url}#v1 /styled",
    )
    assert found["main/README"][1] == b"two\n"
    names = {name: found[f"{name}/README"][1] for name in ("tag", "commit", "short", "checked", "styled")}
    assert set(names.values()) == {b"one\n"}
    assert found["deep/f"][1] == found["query/deep/f"][1] == b"F"
    assert (found["main/README"][0].mode, found["main/run.sh"][0].mode) == (0o644, 0o755)
    assert (found["styled/README"][0].uid, found["styled/README"][0].gid) == (7, 8)
    assert "styled/sub" not in found
    assert not [name for name in found if ".git" in name]


def test_a_repository_is_cached_by_its_files(pybuild, tmp_path, repository):
    """The same commit is a hit; a new commit is fetched and is none."""
    built(pybuild, tmp_path, f"ADD {repository.url} /r")
    again, _ = built(pybuild, tmp_path, f"ADD {repository.url} /r")
    assert "CACHED" in again.stderr
    repository.commit({"README": "three\n"})
    _, found = built(pybuild, tmp_path, f"ADD {repository.url} /r")
    assert found["r/README"][1] == b"three\n"


def test_keeping_the_git_directory(pybuild, tmp_path, repository):
    """It is a repository that git reads, the same in each build."""
    line = f"ADD --keep-git-dir=true {repository.url}#v1 /r"
    first, found = built(pybuild, tmp_path, line)
    assert found["r/.git/HEAD"][1].decode().strip() == repository.first
    again, _ = built(pybuild, tmp_path, line)
    assert again.stdout == first.stdout
    assert "CACHED" in again.stderr
    place = tmp_path / "kept"
    with tarfile.open(tmp_path / "out.tar") as tar:
        tar.extractall(place, filter="tar") if hasattr(tarfile, "tar_filter") else tar.extractall(place)
    status = ("-c", f"safe.directory={place / 'r'}", "status", "--porcelain")
    assert repository.run(*status, work=place / "r") == ""
    _, found = built(pybuild, tmp_path, f"ADD {repository.url}?keep-git-dir=true /r")
    assert "r/.git/HEAD" in found


def test_submodules(pybuild, tmp_path, repository):
    """They come along, without their git files, unless the query refuses them."""
    other = repository.root / "other.git"
    other.mkdir()
    repository.run("init", "-q", "-b", "main", work=other)
    (other / "inner").write_text("I")
    repository.run("add", "-A", work=other)
    repository.run("commit", "-q", "-m", "x", work=other)
    url = repository.url.replace("app.git", "other.git")
    repository.run("submodule", "--quiet", "add", url, "mod")
    repository.run("commit", "-q", "-m", "module")
    _, found = built(
        pybuild, tmp_path, f"ADD {repository.url} /with", f"ADD {repository.url}?submodules=false /without"
    )
    assert found["with/mod/inner"][1] == b"I"
    assert "without/mod/inner" not in found
    assert "with/mod/.git" not in found


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("#nowhere", "the repository has no ref nowhere"),
        ("#main:no/such", "the repository has no directory no/such"),
        ("?ref=main&checksum=00000000", "expected the commit to be 00000000"),
        ("?what=1", "unexpected query 'what'"),
        ("?ref=a&tag=b", "conflicting refs"),
        ("#--upload-pack=x", "invalid git ref"),
        ("#main:../../etc", "has no directory etc"),
        ("?checksum=xyz", "invalid checksum"),
        ("?submodules=maybe", "neither true nor false"),
    ],
)
def test_what_a_repository_does_not_have(pybuild, tmp_path, repository, suffix, message):
    """Each is an error at its line that says what."""
    done, _ = built(pybuild, tmp_path, f"ADD {repository.url}{suffix} /r", check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Dockerfile:2" in done.stderr


def test_a_link_that_leads_out_of_the_repository(pybuild, tmp_path, repository):
    """A directory behind it is refused."""
    (repository.work / "out").symlink_to("/etc")
    repository.run("add", "-A")
    repository.run("commit", "-q", "-m", "link")
    done, _ = built(pybuild, tmp_path, f"ADD {repository.url}#main:out /r", check=False)
    assert "leads out of the repository" in done.stderr


def test_without_git(pybuild, tmp_path):
    """The error names what to install."""
    pybuild.env = {"PATH": str(tmp_path)}
    done, _ = built(pybuild, tmp_path, "ADD https://git.example/x.git /", check=False)
    assert "needs git, which is not installed" in done.stderr
