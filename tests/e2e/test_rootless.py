"""Building and running as an ordinary user: with many ids, with one, and where namespaces are denied."""

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.support import ROOT, Pybuild, make_base, missing, need, wait_for
from tests.e2e.traces import broken_blobs, processes, temporary

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]

PACKAGES = ("builder", "registry", "runtime", "dockerfile_grammar", "oci_image")


@dataclass
class Ordinary(Pybuild):
    """The command line of an ordinary user; `before` are words in front of it."""

    user: pwd.struct_passwd | None = None
    home: Path | None = None
    before: tuple[str, ...] = ()

    def start(self, *args, **kwargs):
        """Start it as that user."""
        code = self.home / "code"
        env = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": str(self.home),
            "PYBUILD_ROOT": str(self.root),
            "PYTHONPATH": f"{code}:{sysconfig.get_path('purelib')}",
            **kwargs.pop("env", {}),
        }
        return subprocess.Popen(
            [*self.before, self.python, "-m", "builder", *map(str, args)],
            env=env,
            cwd=self.home,
            stdin=kwargs.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            user=self.user.pw_uid,
            group=self.user.pw_gid,
            extra_groups=[],
            **kwargs,
        )


def interpreter_for(user):
    """An interpreter of this version that another user may execute."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check = f"import sys; sys.exit('{version}' != '%d.%d' % sys.version_info[:2])"
    for candidate in (sys.executable, f"/usr/bin/python{version}", "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", check],
                check=False,
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd="/",
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    missing("userns", f"no Python {version} that another user may execute")
    return None


@pytest.fixture(scope="module")
def archive(archives, tmp_path_factory):
    """The archive of the base image."""
    make_base("busybox", Pybuild(tmp_path_factory.mktemp("root") / "store"), archives)
    return archives / "busybox.tar"


@pytest.fixture(scope="module", params=["subid", "single"])
def ordinary(request, archive):
    """An ordinary user with a home, a store with busybox, and subordinate ids or not."""
    useradd, userdel, usermod = need("useradd", "userdel", "usermod", what="userns")
    name = f"pybuild{request.param}{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="pybuild-test-", dir="/var/tmp"))
    subprocess.run([useradd, "--no-create-home", "--home-dir", home, name], check=True)
    try:
        user = pwd.getpwnam(name)
        ranges = [
            line for line in Path("/etc/subuid").read_text().splitlines() if line.startswith(name + ":")
        ]
        if request.param == "single" and ranges:
            _, first, count = ranges[0].split(":")
            given = f"{first}-{int(first) + int(count) - 1}"
            subprocess.run([usermod, "--del-subuids", given, "--del-subgids", given, name], check=True)
        if request.param == "subid" and not (ranges and shutil.which("newuidmap")):
            missing("userns", "no subordinate ids for new users, or no newuidmap")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, home / "code" / package)
        shutil.copy(archive, home / "busybox.tar")
        shutil.copy(Path(__file__).parent / "denied.py", home)
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", home], check=True)
        pybuild = Ordinary(home / "store", interpreter_for(user), user=user, home=home)
        pybuild("import", "--change", 'CMD ["sh"]', home / "busybox.tar", "busybox")
        yield pybuild
    finally:
        subprocess.run([userdel, name], check=True)
        shutil.rmtree(home)


@pytest.fixture
def context(ordinary):
    """Makes build contexts that belong to the user."""

    def make(dockerfile, **files):
        folder = Path(tempfile.mkdtemp(dir=ordinary.home))
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            (folder / name).write_text(text)
        subprocess.run(["chown", "-R", f"{ordinary.user.pw_uid}:{ordinary.user.pw_gid}", folder], check=True)
        return folder

    return make


def has_ranges(pybuild):
    """Whether the user has subordinate ids."""
    return pybuild.user.pw_name.startswith("pybuildsubid")


def owners(pybuild, name):
    """Owners of the files of an image, as its layers say."""
    path = pybuild.home / "exported.tar"
    pybuild("export", "-o", path, name)
    with tarfile.open(path) as archive:
        found = {member.name.rstrip("/"): (member.uid, member.gid) for member in archive}
    path.unlink()
    return found


def foreign(pybuild):
    """Files of the store that do not belong to the user or one of the user's subordinate ids."""
    uid = pybuild.user.pw_uid
    return [
        path
        for path in [pybuild.root, *pybuild.root.rglob("*")]
        if path.lstat().st_uid != uid and not (has_ranges(pybuild) and path.lstat().st_uid >= 100000)
    ]


def test_build_and_run(ordinary, context):
    """RUN is root inside; files belong to 0:0; the second build runs nothing; images run."""
    mark = secrets.token_hex(8)
    folder = context(
        f"FROM busybox\nCOPY main.sh /app/\nRUN echo {mark}; id -u > /who; mkdir /made; rm /etc/group\n"
        'CMD ["sh", "/app/main.sh"]\n',
        **{"main.sh": "cat /who; exit 7\n"},
    )
    first = ordinary.build(folder, "-t", "app")
    again = ordinary.build(folder, "-t", "app")

    assert f" {mark}\n" in first.stderr
    assert f" {mark}\n" not in again.stderr
    assert again.stderr.count("CACHED") == 3
    assert again.stdout == first.stdout
    done = ordinary("run", "app", check=False)
    assert (done.stdout, done.returncode) == ("0\n", 7)
    assert ordinary("run", "app", "sh", "-c", "ls /etc | grep -c group", check=False).stdout == "0\n"
    found = owners(ordinary, "app")
    assert {found["app/main.sh"], found["who"], found["made"], found["bin/busybox"]} == {(0, 0)}
    assert "etc/group" not in found
    assert foreign(ordinary) == []
    assert temporary(ordinary.root) == []


def test_dockerfile_on_standard_input(ordinary, context):
    """A Dockerfile that is piped in survives the entry into the user namespace."""
    folder = context("")
    ordinary.build(folder, "-t", "piped", "-f", "-", input=b"FROM busybox\nRUN echo piped > /p\n")

    assert ordinary("run", "piped", "cat", "/p").stdout == "piped\n"


def test_other_owners(ordinary, context):
    """COPY --chown always works; chown in RUN needs subordinate ids, and says so when there are none."""
    text = "FROM busybox\nCOPY --chown=1:65534 Dockerfile /copied\n"
    ordinary.build(context(text), "-t", "owned")
    assert owners(ordinary, "owned")["copied"] == (1, 65534)

    folder = context(text + "RUN touch /ran && chown 3:4 /ran && stat -c @%u:%g@ /copied /ran\n")
    done = ordinary.build(folder, "-t", "owned", check=False)
    if has_ranges(ordinary):
        assert done.returncode == 0, done.stderr
        assert {"@1:65534@", "@3:4@"} <= set(done.stderr.split())
        found = owners(ordinary, "owned")
        assert (found["copied"], found["ran"]) == ((1, 65534), (3, 4))
    else:
        assert done.returncode == 1
        assert "chown" in done.stderr
        assert "Traceback" not in done.stderr
    assert foreign(ordinary) == []


def test_same_image_as_root(ordinary, context, busybox):
    """The same Dockerfile gives the same image, whoever builds it."""
    folder = context("FROM busybox\nCOPY Dockerfile /a/b\nRUN echo x > /y && rm /etc/group\nWORKDIR /z\n")
    for pybuild in (ordinary, busybox):
        pybuild.build(folder, "-t", "same")

    assert ordinary.image("same")["RootFS"] == busybox.image("same")["RootFS"]


def test_failing_command_and_statuses(ordinary, context):
    """Failures look as they do for root."""
    done = ordinary.build(context("FROM busybox\nRUN echo out; exit 9\n"), check=False)
    assert done.returncode == 1
    assert "   2 | >>> RUN echo out; exit 9\n" in done.stderr
    assert "exit code 9" in done.stderr
    assert ordinary("run", "busybox", "sh", "-c", "exit 42", check=False).returncode == 42
    assert ordinary("run", "busybox", "nothing", check=False).returncode == 127
    assert temporary(ordinary.root) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(ordinary, context, number):
    """The outer process passes signals on; when it is killed, everything dies with it."""
    word = str(secrets.randbelow(10**8) + 10**8)
    folder = context(f"FROM busybox\nRUN (setsid sleep {word}1 &); sleep {word}2\n")
    with ordinary.start("--progress", "plain", "-t", "endless", folder) as process:
        wait_for(lambda: len(processes(f"\0{word}")) == 2, "sleepers")
        process.send_signal(number)
        status = process.wait(30)
        told = process.stderr.read().decode()

    assert status == (-number if number == signal.SIGKILL else 130)
    assert "Traceback" not in told
    wait_for(lambda: processes(f"\0{word}") == [], "the command to be gone", 10)
    ordinary.build(context(f"FROM busybox\nRUN echo {word}\n"), "-t", "next")
    assert temporary(ordinary.root) == []
    assert broken_blobs(ordinary.root) == []


def test_cache_transfer(ordinary, context):
    """A cache with a cache mount goes to a directory and comes back into an empty store of the same user."""
    mark = secrets.token_hex(8)
    run = f"RUN --mount=type=cache,target=/c ls /c; touch /c/file; echo {mark} > /made"
    folder = context(f"FROM busybox\nCOPY Dockerfile /\n{run}\n")
    cache = ordinary.home / mark
    ordinary.build(folder, "--cache-to", f"type=local,dest={cache},mode=max,cache-mounts=true")
    other = replace(ordinary, root=ordinary.home / f"store-{mark}")
    other("import", "--change", 'CMD ["sh"]', other.home / "busybox.tar", "busybox")
    source = f"type=local,src={cache}"
    again = other.build(folder, "--cache-from", source, "-t", "app")
    assert again.stderr.count("CACHED") == 3
    assert "WARN" not in again.stderr
    assert other("run", "app", "cat", "/made").stdout == f"{mark}\n"
    (folder / "Dockerfile").write_text(f"FROM busybox\n{run}.2\n")
    changed = other.build(folder, "--cache-from", source)
    assert " file\n" in changed.stderr
    assert "WARN" not in changed.stderr
    assert foreign(other) == []


def test_devices(ordinary, context):
    """A device of the machine is shown as it is; what would have to be made is refused, as are groups."""
    kind = "vendor.example/class"
    free = {"org.mobyproject.buildkit.device.autoallow": "true"}
    folder = context(
        f"FROM busybox\nARG NAME=one\nUSER {1000 if has_ranges(ordinary) else 0}\n"
        f"RUN --device={kind}=one head -c 5 /dev/made-up | wc -c; stat -c @%a@ /dev/made-up; echo $GPU\n"
    )
    other = context(f"FROM busybox\nRUN --device={kind}=made true\n")
    group = context(f"FROM busybox\nRUN --device={kind}=group id -G\n")
    one = {"path": "/dev/made-up", "hostPath": "/dev/zero", "fileMode": 0o600}
    made = {"path": "/dev/made-up", "type": "c", "major": 1, "minor": 5}
    edits = {
        "one": {"env": ["GPU=one"], "deviceNodes": [one]},
        "made": {"deviceNodes": [made]},
        "group": {"additionalGids": [44]},
    }
    devices = [{"name": name, "containerEdits": edit} for name, edit in edits.items()]
    value = {"cdiVersion": "1.1.0", "kind": kind, "annotations": free, "devices": devices}
    (folder / "spec.json").write_text(json.dumps(value))
    env = {"PYBUILD_CDI_SPEC_DIRS": str(folder)}

    done = ordinary.build(folder, env=env)
    assert re.search(r" 5\n.* @666@\n.* one\n", done.stderr, re.DOTALL)
    assert "WARN: device vendor.example/class=one: /dev/made-up keeps the mode and owner" in done.stderr
    done = ordinary.build(other, env=env, check=False)
    assert done.returncode == 1
    assert "/dev/made-up is not c 1:5 on this machine" in done.stderr
    assert "build as root" in done.stderr
    done = ordinary.build(group, env=env, check=False)
    if has_ranges(ordinary):
        assert re.search(r" 0( \d+)* 44\n", done.stderr)
    else:
        assert "group 44 cannot be joined" in done.stderr


def test_prune(ordinary, context):
    """What was unpacked with other owners can be removed by the user, too."""
    chown = "&& chown -R 5:5 /d && chmod 0 /d" if has_ranges(ordinary) else ""
    name = f"gone:{secrets.token_hex(4)}"
    ordinary.build(
        context(f"FROM busybox\nRUN mkdir /d && touch /d/f {chown}\nRUN echo {name}\n"), "-t", name
    )
    ordinary("rmi", name)
    done = ordinary("prune", "--all", "--force")

    assert "Total reclaimed space" in done.stdout
    assert list((ordinary.root / "pybuild" / "rootfs").iterdir()) == []
    assert "busybox" in ordinary("images").stdout
    ordinary.build(context("FROM busybox\nRUN true\n"))


def test_without_user_namespaces(ordinary, context):
    """Where user namespaces are denied all but RUN works; RUN has status 3 and says what to do."""
    denied = Ordinary(
        ordinary.home / f"denied-{secrets.token_hex(4)}",
        ordinary.python,
        user=ordinary.user,
        home=ordinary.home,
        before=(ordinary.python, str(ordinary.home / "denied.py")),
    )
    denied("import", ordinary.home / "busybox.tar", "busybox")
    copies = "FROM busybox\nCOPY --chown=1:2 Dockerfile /x/\nWORKDIR /w\nCMD true\n"
    denied.build(context(copies), "-t", "copied")
    assert owners(denied, "copied")["x/Dockerfile"] == (1, 2)

    done = denied.build(
        context(copies + "RUN true\n"), "-t", "ran", "--iidfile", denied.home / "iid", check=False
    )
    assert done.returncode == 3, done.stderr
    assert "   5 | >>> RUN true\n" in done.stderr
    assert re.search(r"error: RUN true: .*not allowed", done.stderr)
    assert "hint: " in done.stderr
    assert "kernel.unprivileged_userns_clone" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (denied.home / "iid").exists()
    assert temporary(denied.root) == []
    assert denied("inspect", "ran", check=False).returncode == 1

    done = denied("run", "busybox", "true", check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (125, False)
    assert "hint: " in done.stderr


def test_outputs(ordinary, context):
    """Layers are joined, files and layouts are written with the user's rights, other groups are refused."""
    folder = context("FROM busybox\nRUN echo 1 > /one; rm /etc/group\nRUN rm /one; echo 2 > /two\n")
    files, layout = ordinary.home / "files", ordinary.home / "layout"
    outputs = ("-o", f"type=local,dest={files}", "-o", f"type=oci,tar=false,dest={layout}")
    ordinary.build(folder, "--squash", "-t", "joined", *outputs)

    assert (files / "two").read_text() == "2\n"
    assert not (files / "one").exists()
    assert not (files / "etc" / "group").exists()
    assert len(ordinary.image("joined")["RootFS"]["Layers"]) == 2
    assert (layout / "index.json").stat().st_uid == ordinary.user.pw_uid
    done = ordinary.build(folder, "--no-cache", "--cgroup-parent", "/pybuild-test-of-others", check=False)
    assert done.returncode == 3
    assert "no control group can be made in pybuild-test-of-others" in done.stderr
    shutil.rmtree(files)
    shutil.rmtree(layout)
