"""Flags, Dockerfiles, ignore files and addresses that make no sense: one clear error, at its line if any."""

import os
import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.calls import call, refused

pytestmark = pytest.mark.usefixtures("as_root")
LONG = "a" * 300


@pytest.fixture
def context(tmp_path):
    """A build context with a file."""
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (folder / "f").write_text("content")
    return folder


FLAGS = {
    "-t": ["", "a b", "a\nb", "UPPER", "app@sha256:aa", "app@sha256:" + "a" * 64, LONG, "\udcff"],
    "-f": ["/", "nope", "../nope", "\udcff", LONG],
    "--build-arg": ["", "=x", "SOURCE_DATE_EPOCH=x", "SOURCE_DATE_EPOCH=" + "9" * 20],
    "--target": ["nope", "99", "-1", "\udcff"],
    "--platform": ["a/b/c/d/e", "linux/amd64,", ",", "linux//"],
    "--label": ["", "=x"],
    "--network": ["bogus", "", "container:x"],
    "--build-context": [
        *("x", "=x", "x=", "x=/nope", "x=docker-image://", "x=docker-image://UPPER", "x=target:"),
        *("x=target:nope", "x=oci-layout:///nope", "x=oci-layout://", "x=https://[::1", "x=git://h/a#-x"),
        *("x=s3://bucket/key", "x=ftp://host/file"),
    ],
    "--secret": [
        *("nope", "id=", "src=", "id=a,src=/nope", "id=a,src=/", "id=a,foo=b", "id=a,type=zip", '"id=a'),
        *("id=a,src=/dev/zero", "nope-nope", 'id=a,src="b,c"'),
    ],
    "--ssh": ["=x", "a=", "a=/nope", "a=/etc"],
    "--add-host": [
        "x",
        "x:1.2.3.4,y",
        "x:1.2.3.4,",
        '"x:1.2.3.4',
        "x:",
        ":1.2.3.4",
        "x:y",
        "x:1.2.3.4.5",
        "x\ny:1.2.3.4",
    ],
    "--shm-size": ["x", "-1", "1e400", "nan", "9" * 30],
    "--ulimit": ["", "nofile", "bogus=1", "nofile=2:1", "nofile=-5", "nofile=" + "9" * 30, "nofile=-1:5"],
    "--cgroup-parent": ["..", "a/../b", "/", "a//b", "a\nb"],
    "--cache-from": ["type=bogus", "type=registry", "type=local", "type=local,foo", '"ref', "UPPER"],
    "--cache-to": [
        *("type=bogus", "type=local", "type=local,dest=o,mode=bogus", "type=inline,foo=x"),
        *("type=local,dest=o,compression=bogus", "type=local,dest=o,compression=zstd,compression-level=99"),
    ],
    "--allow": ["bogus", "network.host,security.insecure"],
    "--cache-limit": ["x", "-1", "inf", "1 zz"],
    "--progress": ["", "bogus"],
    "-o": [
        *("type=bogus", "type=local", "type=oci,tar=false", "type=registry", 'type=oci,dest="x'),
        *("type=oci,dest=x,name", "type=local,dest=x,mode=move", "type=local,dest=/,mode=delete"),
        *("type=oci,dest=x,compression=foo", "type=oci,dest=x,compression-level=x", "type=oci,dest=x,foo=1"),
        *(
            "type=image,name=UPPER",
            "type=oci,dest=/proc/nope/x",
            "type=oci,dest=/",
            "type=local,dest=/etc/passwd",
        ),
    ],
    "--annotation": ["x", "bogus:x=y", "manifest[bogus:x=y", "manifest[]:x=y"],
    "--compression": ["bogus", "gzip:99", "zstd:", ""],
    "--call": ["bogus", "check,format=xml", "check,foo"],
    "--iidfile": ["/nope/x", "/proc/nope"],
    "--metadata-file": ["/nope/x", "/proc/nope"],
}
BUILT_BEFORE = ("--iidfile", "--metadata-file")


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag in FLAGS for value in FLAGS[flag]])
def test_flags(tmp_path, context, flag, value):
    """A bad value is refused before anything runs, also where all is cached; the error names the flag."""
    root = tmp_path / "store"
    if flag not in BUILT_BEFORE:
        told = refused(root, f"{flag}={value}" if flag[1] == "-" else f"{flag}{value}", context)
        assert not (root / "blobs" / "sha256").is_dir() or "dest=/" in value
        if flag == "--build-context":
            assert "address" in told or "git ref" in told or flag in told
            return
        named = flag in told or flag.strip("-") in told or value in told.replace("\\n", "\n")
        assert named or flag in ("-t", "-f", "-o", "--target", "--build-arg"), told
    assert call(root, context)[0] == 0
    refused(root, f"{flag}={value}" if flag[1] == "-" else f"{flag}{value}", context)


ADDRESSES = [
    *("https://[::1", "http://[x]/y", "http://a b/", "http://\udcff/x", "http://127.0.0.1:1/x", "https://"),
    *(
        "git://127.0.0.1:1/x",
        "git@-x:y",
        "git://",
        "git://127.0.0.1:1/x#a\nb",
        "https://h/x.git#--upload-pack=x",
    ),
    *("https://h/x.git#%0a--upload-pack", "https://h/x.git?ref=-x", "ssh://-oProxyCommand=x/y", "git://-x/y"),
    *("", "nope", "/etc/passwd", "/dev/null", LONG, "https://h/x.git#a:.git/hooks", "ftp://x"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_contexts(tmp_path, address):
    """What is no build context is told as such."""
    (tmp_path / "ran").mkdir()
    told = refused(tmp_path / "store", address)
    assert "password" not in told


WRONG = {
    "bracket": ("ADD http://[::1 /x", "invalid address 'http://[::1'"),
    "host": ("ADD http://me:password@[x]/ /x", "invalid address 'http://[x]/'"),
    "nul": ("COPY a\0b /", "NUL"),
    "nul-destination": ("COPY f /a\0b", "NUL"),
    "nul-json": ('COPY ["f", "/a\\u0000b"]', "NUL"),
    "nul-variable": ("ENV A=a\0b", "NUL"),
    "nul-command": ('CMD ["a\\u0000"]', "NUL"),
    "latin-1": ("COPY \udcff /", "not valid UTF-8"),
    "git-option": ("ADD -ux@h:y /", "-ux@h:y is not in the build context"),
    "git-option-json": ('ADD ["--upload-pack=x@h:y", "/"]', "--upload-pack=x@h:y is not in"),
    "git-ref": ("ADD https://h/x.git#--upload-pack=x /", "invalid git ref"),
    "git-ref-newline": ("ADD https://h/x.git#a%0ab /", "invalid git ref"),
    "long-source": (f"COPY {LONG} /", f"{LONG} is not in the build context"),
    "long-name": (f"COPY f /{LONG}", "a part of a path cannot have more than 255 bytes"),
    "long-directory": (f"COPY f /{LONG}/", "a part of a path cannot have more than 255 bytes"),
    "long-umlauts": (f"COPY f /{'ü' * 130}", "a part of a path cannot have more than 255 bytes"),
    "long-path": (f"COPY f {'/a' * 2500}", "a path cannot have more than 4096 bytes"),
    "long-workdir": (f"WORKDIR /{LONG}", "a part of a path cannot have more than 255 bytes"),
    "pattern": ("COPY f[ /", "syntax error in pattern"),
    "exclude": ("COPY --exclude=[ f /", "syntax error in pattern"),
    "traversal": ("COPY ../../../etc/passwd /", "etc/passwd is not in the build context"),
    "owner": ("COPY --chown=99999999999 f /", "numbers go up to 4294967294"),
    "mode": ("COPY --chmod=99999 f /", "invalid chmod parameter"),
    "from": ("COPY --from=UPPER f /", "invalid reference"),
    "stage": ("COPY --from=99 f /", "invalid stage index"),
    "self": ("COPY --from=0 f /", "circular dependency"),
    "checksum": ("ADD --checksum=md5:00 http://127.0.0.1:1/x /", "invalid checksum"),
    "port": ("EXPOSE 99999", "invalid containerPort"),
    "signal": ("STOPSIGNAL SIGFOO", "invalid signal"),
    "duration": ("HEALTHCHECK --interval=x CMD a", "invalid duration"),
    "mount": ("RUN --mount=type=foo true", 'unsupported mount type "foo"'),
    "secret-mode": ("RUN --mount=type=secret,mode=9 true", "invalid value 9 for mode"),
    "network": ("RUN --network=foo true", "invalid network mode"),
    "nested": ("ENV A=" + "${A:-" * 3000 + "}" * 3000, "too deep"),
    "platform": ("FROM --platform=a/b/c/d/e scratch", "failed to parse platform"),
    "line": ("X" * 70000, "greater than max allowed size"),
    "device": ("RUN --device=foo,required true", 'required device "foo" is not registered'),
    "device-name": ("RUN --device=foo,name=bar true", "device name already set to foo"),
    "device-key": ("RUN --device=foo,require=1 true", "unexpected key 'require'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_dockerfiles(tmp_path, context, name):
    """The error says what, and shows the line."""
    text, message = WRONG[name]
    raw = f"FROM scratch\n{text}\n".encode("utf-8", "surrogateescape")
    (context / "Dockerfile").write_bytes(raw)
    told = refused(tmp_path / "store", "--progress", "plain", context)
    assert message in told.rpartition("error: ")[2] or name == "nested"
    assert "Dockerfile:2\n" in told
    assert "password" not in told


def test_more_sources_than_descriptors(tmp_path, context):
    """A COPY of the same file thousands of times is a COPY."""
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY {'f ' * 300}/d/\n")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 190, before[1]))
    try:
        status, _, told = call(tmp_path / "store", context)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert status == 0, told


IGNORED = [b"!", b"[", b"[a-", b"a\\", b"[]", b"[^]", b"a[b-a]", b"# ok\n[" * 2, b"[" * 3000, b"\xff["]


@pytest.mark.parametrize("lines", IGNORED)
def test_ignore_files(tmp_path, context, lines):
    """The error names the file and the line."""
    (context / ".dockerignore").write_bytes(b"# first\n" + lines)
    told = refused(tmp_path / "store", context)
    assert ".dockerignore:" in told


def test_an_ignore_file_that_is_a_directory(tmp_path, context):
    """Told as such."""
    (context / ".dockerignore").mkdir()
    assert ".dockerignore: Is a directory" in refused(tmp_path / "store", context)


WORDS = (
    *(
        "FROM",
        "COPY",
        "ADD",
        "RUN",
        "ENV",
        "ARG",
        "WORKDIR",
        "USER",
        "LABEL",
        "EXPOSE",
        "VOLUME",
        "SHELL",
        "CMD",
    ),
    *(
        "ONBUILD",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "scratch",
        "f",
        "/d/",
        "AS",
        "--from=",
        "--chown=0",
    ),
    *(
        "--chmod=u+x",
        "--parents",
        "--link",
        "--exclude=",
        "--mount=type=",
        "<<E",
        "E",
        "\\\n",
        "\n",
        "\r\n",
        "#",
    ),
    *(
        "${A",
        "${A:-",
        "}",
        '"',
        "'",
        "[",
        "]",
        ",",
        "=",
        "http://[",
        "git@h:",
        "\0",
        "\udcff",
        "ü",
        "*",
        "!",
        "`",
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=30), st.booleans())
def test_any_dockerfile(tmp_path, context, words, spaced):
    """Whatever is written: a plan, or one error with a documented status."""
    text = "FROM scratch\n" + (" " if spaced else "").join(words)
    (context / "Dockerfile").write_bytes(text.encode("utf-8", "surrogatepass"))
    status, _, told = call(tmp_path / "store", "--plan", context)
    assert status in (0, 1), told
    assert "Traceback" not in told
    assert status == 0 or told.count("error: ") >= 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([b"*", b"!", b"[", b"]", b"/", b"..", b"\\", b"\n", b"f"]))
)
def test_any_ignore_file(tmp_path, context, raw):
    """Whatever is written: it is understood, or one error in that file."""
    (context / ".dockerignore").write_bytes(raw if isinstance(raw, bytes) else b"".join(raw))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    status, _, told = call(tmp_path / "store", "--plan", context)
    assert status in (0, 1), told
    assert status == 0 or ".dockerignore" in told


OTHER = [
    *(["load", "-i", "/nope"], ["load", "-i", "/"], ["load", "-i", "/dev/null"], ["import", "/nope", "x"]),
    *(
        ["import", "/dev/null", "UPPER"],
        ["save", "nope"],
        ["save", "-o", "/nope/x", "nope"],
        ["export", "nope"],
    ),
    *(["tag", "nope", "x"], ["tag", "x", "UPPER"], ["rmi", "nope"], ["inspect", "nope"], ["history", "nope"]),
    *(
        ["inspect", "--platform", "a/b/c/d", "x"],
        ["prune", "--force", "--filter", "x"],
        ["du", "--filter", "x"],
    ),
    *(["pull", "UPPER"], ["push", "nope"], ["import", "-c", "FOO bar", "/dev/null", "x"]),
    *(["prune", "--force", "--keep-storage", "x"], ["prune", "--force", "--older-than", "x"]),
]


@pytest.mark.parametrize("words", OTHER, ids=" ".join)
def test_other_verbs(tmp_path, words):
    """The same holds for what is not a build."""
    root = tmp_path / "store"
    status, out, told = call(root, *words)
    assert status in (1, 2), told
    assert "Traceback" not in told
    assert "error: " in told
    assert out in ("", "[]\n")


def test_the_errors_are_those_of_a_process(busybox, context):
    """What the other tests see in this process is what a user sees."""
    done = busybox("--compression", "bogus", context, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --compression bogus: unknown compression 'bogus'\n")
    assert os.listdir(context.parent / "c") == sorted(os.listdir(context)) or len(os.listdir(context)) == 2
