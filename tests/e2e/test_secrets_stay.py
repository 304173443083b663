"""Secrets stay where they were given: a search for random words through everything that a build leaves."""

import base64
import contextlib
import json
import os
import pty
import secrets
import subprocess
import tarfile
import threading
import time
import zlib
from pathlib import Path

import bcrypt
import pytest

from tests.e2e.calls import call
from tests.e2e.support import Pybuild, make_base, need, start_registry
from tests.e2e.test_add_remote import Site

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]

DOCKERFILE = """\
ARG TOKEN
FROM {registry}/base AS given
ARG TOKEN
ADD http://ann:{site_word}@{site}/a.txt /a.txt
RUN --mount=type=secret,id=TOKEN --mount=type=secret,id=named,env=NAMED --mount=type=ssh \
 --mount=type=secret,id=file,target=/f,required test -n "$NAMED" -a -s /f -a -s /run/secrets/TOKEN \
 -a -S $SSH_AUTH_SOCK && sleep 1 && echo {nonce}
FROM {registry}/base AS spy
COPY spy /
RUN sh /spy > /seen; test -s /seen && echo {nonce}
FROM scratch
COPY --from=given /a.txt /
COPY --from=spy /seen /
{last}
"""
SPY = """\
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
  cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/mountinfo
  cat /proc/[0-9]*/root/run/secrets/* /proc/[0-9]*/root/f /proc/[0-9]*/cwd/f /run/secrets/* /f
  ls -laR /run /dev/shm /tmp /proc/[0-9]*/fd
  sleep 0.1
done 2>&1
"""


class Secrets:
    """Words that nobody may see, by what they are; `forms` are ways to write them down."""

    def __init__(self):
        self.words = {
            name: "w" + secrets.token_hex(16)
            for name in ("file", "named", "token", "site", "registry", "git", "unread")
        }

    def __getitem__(self, name):
        return self.words[name]

    def forms(self):
        """Bytes to look for, by name: as they are, as hexadecimal digits, in base64 at any offset."""
        found = {}
        for name, word in self.words.items():
            raw = word.encode()
            found[name] = raw
            found[f"{name} in hex"] = raw.hex().encode()
            for offset in range(3):
                encoded = base64.b64encode(b"-" * offset + raw)
                found[f"{name} in base64, {offset}"] = encoded[(4 if offset else 0) : -4]
        return found

    def seen_in(self, data):
        """What the data gives away; compressed parts of it are looked into."""
        return [name for name, form in self.forms().items() if form in data]


def inflated(data):
    """The data, and everything in it that zlib or gzip made."""
    found = [data]
    for mark, bits in ((b"\x1f\x8b\x08", 31), (b"x\x9c", 15), (b"x\x01", 15), (b"x\xda", 15)):
        place = data.find(mark)
        while place >= 0:
            with contextlib.suppress(zlib.error):
                found.append(zlib.decompressobj(bits).decompress(data[place:], 1 << 24))
            place = data.find(mark, place + 1)
    return b"\0".join(found)


@pytest.fixture
def hidden():
    """The words of a test."""
    return Secrets()


@pytest.fixture
def guarded(tmp_path, hidden, archives):
    """A registry that asks for a password, with the base image in it, and who knows the password."""
    coded = bcrypt.hashpw(hidden["registry"].encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"ann:{coded}\n")
    server = start_registry(tmp_path / "registry", "--htpasswd", tmp_path / "htpasswd")
    auth = base64.b64encode(f"ann:{hidden['registry']}".encode()).decode()
    (tmp_path / "docker").mkdir()
    config = tmp_path / "docker" / "config.json"
    config.write_text(json.dumps({"auths": {server.name: {"auth": auth}}}))
    maker = Pybuild(tmp_path / "maker", env={"DOCKER_CONFIG": str(config.parent)})
    make_base("busybox", maker, archives)
    maker("tag", "busybox", f"{server.name}/base")
    maker("push", f"{server.name}/base")
    yield server
    server.stop()
    server.process.stderr.close()


def on_a_terminal(pybuild, *args, **kwargs):
    """What a build writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [pybuild.python, "-m", "builder", *map(str, args)],
        env={**os.environ, **pybuild.env, "PYBUILD_ROOT": str(pybuild.root), **kwargs},
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):
        while data := os.read(ours, 1 << 16):
            told += data
    os.close(ours)
    assert process.wait(60) == 0, told
    return told


class Watch:
    """The command lines of all processes of the machine, as long as the block runs."""

    def __enter__(self):
        self.seen, self._over = set(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self):
        while not self._over.is_set():
            for name in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    self.seen.add(Path(f"/proc/{name}/cmdline").read_bytes())
            time.sleep(0.02)

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def test_secrets_are_nowhere(tmp_path, hidden, guarded, monkeypatch):
    """In no layer, history, record, log, error, archive, cache or metadata, nor in /proc of others."""
    site = Site()
    site.files = {"/a.txt": b"A\n"}
    key, places = (
        tmp_path / "key",
        {name: tmp_path / name for name in ("oci", "tar", "local", "cache", "meta")},
    )
    subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    hidden.words["key"] = key.read_text().splitlines()[2]
    (tmp_path / "file").write_text(hidden["file"])
    env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "TOKEN": hidden["token"], "SOME": hidden["named"]}
    pybuild = Pybuild(tmp_path / "store", env=env)
    context = tmp_path / "c"
    context.mkdir()
    (context / "spy").write_text(SPY)
    flags = [
        *("--secret", f"id=file,src={tmp_path / 'file'}", "--secret", "id=named,env=SOME"),
        *("--secret", "id=TOKEN", "--ssh", f"default={key}"),
    ]
    told = {}

    def dockerfile(nonce, last=""):
        host = site.url.removeprefix("http://")
        text = DOCKERFILE.format(
            registry=guarded.name, site=host, site_word=hidden["site"], nonce=nonce, last=last
        )
        (context / "Dockerfile").write_text(text)

    def keep(name, done):
        told[name] = (done.stdout + done.stderr).encode()
        return done

    def fails(name, *args):
        status, out, err = call(pybuild.root, "--progress", "plain", *args)
        assert status == 1, err
        told[name] = (out + err).encode()

    with Watch() as watch:
        dockerfile("first")
        outputs = [
            *("-o", f"type=oci,dest={places['oci']},compression=uncompressed"),
            *("-o", f"type=tar,dest={places['tar']}", "-o", f"type=local,dest={places['local']}"),
            *("--cache-to", f"type=local,dest={places['cache']},mode=max,compression=uncompressed"),
            *("--metadata-file", places["meta"], "-t", f"{guarded.name}/result", "--push"),
        ]
        keep("plain", pybuild.build(context, *flags, *outputs))
        keep("cached", pybuild("--progress", "quiet", *flags, "-t", "result", context))
        dockerfile("second", "CMD x")
        keep("json", pybuild("--progress", "json", "--explain", *flags, context))
        told["terminal"] = on_a_terminal(pybuild, "--no-cache", *flags, context)
        dockerfile("third", "FROM given\nRUN --mount=type=secret,id=TOKEN cat /run/secrets/* >/none && false")
        assert keep("failing", pybuild.build(context, *flags, check=False)).returncode == 1
        dockerfile("second", "CMD x")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    asked = {
        "plan": ("--plan", "--progress", "json", *flags, context),
        "check": ("--check", context),
        "outline": ("--call=outline,format=json", context),
        "inspect": ("inspect", "result"),
        "history": ("history", "--no-trunc", "result"),
        "du": ("du", "--verbose"),
    }
    for name, args in asked.items():
        told[name] = "".join(call(pybuild.root, *args)[1:]).encode()

    wrong = {
        "url": "ADD http://ann:{site}@{host}/none /",
        "nobody": "ADD http://ann:{site}@127.0.0.1:1/none /",
        "git": "ADD http://ann:{git}@127.0.0.1:1/x.git#main /",
        "git-ref": "ADD http://ann:{git}@127.0.0.1:1/x.git#-x /",
        "bracket": "ADD http://ann:{git}@[::1 /",
        "syntax": "ADD --nope http://ann:{git}@127.0.0.1:1/x.git /",
    }
    for name, last in wrong.items():
        words = {"site": hidden["site"], "git": hidden["git"], "host": site.url.removeprefix("http://")}
        dockerfile("first", last.format(**words) if "{" in last else last)
        fails(name, *flags, context)
    address = f"http://ann:{hidden['git']}@127.0.0.1:1/x.git"
    fails("git context", address)
    fails("named context", "--build-context", f"given={address}", *flags, context)
    fails("not a pair", "--secret", hidden["unread"], context)
    fails("refused", "--secret", f"id=x,src={tmp_path / 'file'}/x", context)
    (tmp_path / "docker" / "config.json").write_text(
        json.dumps({"auths": {guarded.name: {"username": "bob", "password": hidden["registry"]}}})
    )
    for verb in ("push", "pull"):
        status, out, err = call(pybuild.root, verb, f"{guarded.name}/result")
        assert status == 1
        told[f"{verb} denied"] = (out + err).encode()
    site.server.shutdown()
    site.server.server_close()

    assert {name: hidden.seen_in(data) for name, data in told.items() if hidden.seen_in(data)} == {}
    assert [line for line in watch.seen if hidden.seen_in(line)] == []
    kept = [tmp_path / "store", *places.values()]
    files = [path for place in kept for path in (place.rglob("*") if place.is_dir() else [place])]
    files = [path for path in files if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".db" for path in files)
    assert {
        str(path): names for path in files if (names := hidden.seen_in(inflated(path.read_bytes())))
    } == {}
    assert [path for path in files if any(word in str(path) for word in hidden.words.values())] == []
    with tarfile.open(places["tar"]) as tar:
        seen = tar.extractfile("seen").read()
    assert b"PATH=" in seen  # the spy looked at somebody: itself
    assert sum(len(data) for data in told.values()) > 1000
