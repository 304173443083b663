"""RUN with secrets, agents, hosts, limits and entitlements, through the command line."""

import os
import re
import shutil
import subprocess

import pytest

from tests.e2e.support import need

pytestmark = pytest.mark.userns
VALUE = "correct-horse-battery-staple-7319"


def dockerfile(folder, text):
    """Write a Dockerfile over busybox."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM busybox\n{text}")
    return folder


def files_with(root, value):
    """Every file below a directory that contains the value, and every name that does."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as stream:
                    if value.encode() in stream.read():
                        found.append(path)
            if value in name:
                found.append(path)
    return found


SECRET_RUN = (
    "ARG SEEN=1\n"
    "RUN --mount=type=secret,id=file,required --mount=type=secret,id=variable,env=TOKEN"
    " --mount=type=secret,id=both,target=/both,env=BOTH,mode=0444,uid=3,gid=4"
    " --mount=type=secret,id=absent"
    ' test "$(cat /run/secrets/file)" = "$TOKEN" && test "$(cat /both)" = "$BOTH"'
    " && stat -c '%a %u %g' /run/secrets/file /both && test ! -e /run/secrets/absent"
    " && echo done > /done\n"
    'RUN test ! -e /both && test ! -e /run/secrets && test -z "$TOKEN" && echo clean\n'
)


def test_secrets_reach_the_command_and_nothing_else(busybox, tmp_path):
    """A value is in no layer, history, cache, record, log or report, also of repeated and failed builds."""
    context = dockerfile(tmp_path / "c", SECRET_RUN)
    secret = tmp_path / "secret"
    secret.write_text(VALUE)
    flags = [
        *("--secret", f"id=file,src={secret}", "--secret", "id=variable,env=SOME_TOKEN"),
        *("--secret", f'"id=both","src={secret}"'),
    ]
    env = {"SOME_TOKEN": VALUE}

    done = busybox.build(context, "-t", "x", *flags, "--metadata-file", tmp_path / "meta", env=env)
    assert re.search(r"400 0 0\n.*444 3 4\n", done.stderr)
    again = busybox.build(context, "-t", "x", *flags, env=env)
    assert "CACHED" in again.stderr
    (context / "Dockerfile").write_text(
        f"FROM busybox\n{SECRET_RUN}RUN --mount=type=secret,id=file,target=/s test -s /s && nonsense\n"
    )
    failed = busybox.build(context, *flags, env=env, check=False)
    assert failed.returncode == 1
    json = busybox("--progress", "json", *flags, context, env=env, check=False)

    outputs = [*(text for run in (done, again, failed, json) for text in (run.stdout, run.stderr))]
    assert not [text for text in outputs if VALUE in text]
    assert VALUE not in (tmp_path / "meta").read_text()
    assert VALUE not in busybox("inspect", "x").stdout + busybox("history", "x").stdout
    assert files_with(busybox.root, VALUE) == []
    assert busybox("run", "x", "ls", "/done").stdout == "/done\n"


def test_another_value_of_a_secret_changes_nothing(busybox, tmp_path):
    """Values are no part of the key; names are."""
    context = dockerfile(tmp_path / "c", "RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /n\n")
    for value in ("one", "other"):
        (tmp_path / "s").write_text(value)
        done = busybox.build(context, "-t", value, "--secret", f"id=s,src={tmp_path / 's'}")
    assert done.stderr.count("CACHED") == 2
    assert busybox("run", "other", "cat", "/n").stdout == "3\n"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (f"{VALUE}", "every field must be KEY=VALUE"),
        ("src=/etc/hostname", "the id is missing"),
        ("id=a,src=/does/not/exist", "--secret id=a: cannot read /does/not/exist: No such file"),
        ("id=a,src=/etc,type=file", "Is a directory"),
        ("id=a,type=vault", "type=vault: expected file or env"),
        ("id=a,what=b", "unexpected key 'what'"),
        ('"id=a', "misplaced quotes"),
        ('id=a,src="b,c"', "misplaced quotes"),
        ("id=big,src=/dev/zero", "larger than 512000 bytes"),
    ],
)
def test_wrong_secrets(pybuild, tmp_path, flag, message):
    """Each is an error that says what, never with the text of the flag, which may be the secret."""
    done = pybuild.build(dockerfile(tmp_path / "c", ""), "--secret", flag, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert VALUE not in done.stderr


def test_a_required_secret_that_was_not_given(busybox, tmp_path):
    """The error names it, and its line."""
    context = dockerfile(tmp_path / "c", "RUN --mount=type=secret,id=tok,required true\n")
    done = busybox.build(context, "--secret", "id=other,env=PATH", check=False)
    assert done.returncode == 1
    assert "secret tok was not given" in done.stderr
    assert "--secret id=tok" in done.stderr


def test_a_secret_of_an_unset_variable(busybox, tmp_path):
    """It is empty, as with docker, also where it is required; a warning says so."""
    run = "RUN --mount=type=secret,id=tok,required wc -c < /run/secrets/tok\n"
    done = busybox.build(dockerfile(tmp_path / "c", run), "--secret", "id=tok,env=NOT_SET_ANYWHERE")
    assert re.search(r"\b0\n", done.stderr)
    assert "WARN: --secret id=tok: NOT_SET_ANYWHERE is not set in the environment" in done.stderr


def test_a_secret_by_its_id_alone(busybox, tmp_path):
    """The variable of that name, or else the file."""
    context = dockerfile(tmp_path / "c", "RUN --mount=type=secret,id=S cat /run/secrets/S > /s; test -s /s\n")
    busybox.build(context, "-t", "x", "--secret", "id=S", env={"S": "variable"})
    assert busybox("run", "x", "cat", "/s").stdout == "variable"


def ssh_base(pybuild, tmp_path):
    """An image with this machine's ssh-add and its libraries."""
    program = need("ssh-add")
    root = tmp_path / "ssh-root"
    paths = {program, *re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", program], text=True))}
    for path in paths:
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), place)
    (root / "Dockerfile").write_text("FROM busybox\nCOPY . /\n")
    pybuild.build(root, "-t", "with-ssh")


def test_an_agent_with_a_key_of_a_file(busybox, tmp_path):
    """The command lists the key through the agent; the key itself is nowhere."""
    ssh_base(busybox, tmp_path)
    key = tmp_path / "key"
    subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", key], check=True)
    context = tmp_path / "c"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM with-ssh\n"
        "RUN --mount=type=ssh,uid=5,mode=0660,required echo $SSH_AUTH_SOCK && ssh-add -l"
        " && stat -c '%a %u' $SSH_AUTH_SOCK && ssh-add -L > /public\n"
        "RUN test ! -e /run/buildkit\n"
    )
    done = busybox.build(context, "-t", "x", "--ssh", f"default={key}")
    assert "/run/buildkit/ssh_agent.0" in done.stderr
    assert "mine (ED25519)" in done.stderr
    assert "660 5" in done.stderr
    public = busybox("run", "x", "cat", "/public").stdout
    assert public.split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]
    private = key.read_text().splitlines()[2]
    assert files_with(busybox.root, private) == []

    missing = busybox.build(context, "--no-cache", check=False)
    assert "no ssh agent 'default' was given" in missing.stderr
    assert "--ssh default" in missing.stderr


def test_an_agent_that_runs(busybox, tmp_path):
    """Its socket is passed on, by SSH_AUTH_SOCK or by path."""
    ssh_base(busybox, tmp_path)
    folder = tmp_path / "a"
    folder.mkdir()
    agent = subprocess.Popen([need("ssh-agent"), "-D", "-a", "sock"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        subprocess.run([need("ssh-keygen"), "-q", "-N", "", "-C", "theirs", "-f", tmp_path / "k"], check=True)
        subprocess.run(
            [need("ssh-add"), "-q", tmp_path / "k"],
            check=True,
            cwd=folder,
            env={**os.environ, "SSH_AUTH_SOCK": "sock"},
        )
        context = tmp_path / "c"
        context.mkdir()
        (context / "Dockerfile").write_text(
            "FROM with-ssh\nRUN --mount=type=ssh,id=x,target=/s SSH_AUTH_SOCK=/s ssh-add -l\n"
        )
        for flag, env in ((f"x={folder / 'sock'}", {}), ("x", {"SSH_AUTH_SOCK": str(folder / "sock")})):
            done = busybox.build(context, "--no-cache", "--ssh", flag, env=env)
            assert "theirs" in done.stderr
    finally:
        agent.terminate()
        agent.wait()
    done = busybox.build(context, "--no-cache", "--ssh", f"x={folder / 'sock'}", check=False)
    assert done.returncode != 0
    assert "ssh" in done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("default", "SSH_AUTH_SOCK is not set"),
        ("=x", "the id is missing"),
        ("a=/does/not/exist", "--ssh a: cannot read /does/not/exist"),
    ],
)
def test_wrong_agents(pybuild, tmp_path, flag, message):
    """Each is an error before anything runs."""
    context = dockerfile(tmp_path / "c", "")
    done = pybuild.build(context, "--ssh", flag, check=False, env={"SSH_AUTH_SOCK": ""})
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_a_key_that_is_none(busybox, tmp_path):
    """ssh-add refuses it, and the error says so."""
    (tmp_path / "key").write_text("no key\n")
    context = dockerfile(tmp_path / "c", "RUN --mount=type=ssh true\n")
    done = busybox.build(context, "--ssh", f"default={tmp_path / 'key'}", check=False)
    assert done.returncode == 1
    assert "ssh-add does not accept the key" in done.stderr


def test_add_host(busybox, tmp_path):
    """Names are in /etc/hosts while commands run, in no layer; other names are another step."""
    context = dockerfile(tmp_path / "c", "RUN cp /etc/hosts /seen\n")
    hosts = ("db.example:10.9.8.7", "six=[fd00::1],me:host-gateway", '"two=10.0.0.1,10.0.0.2"')
    flags = [word for host in hosts for word in ("--add-host", host)]
    busybox.build(context, "-t", "x", *flags)
    seen = busybox("run", "x", "cat", "/seen").stdout
    assert "10.9.8.7\tdb.example\n" in seen
    assert "fd00::1\tsix\n" in seen
    assert "10.0.0.1\ttwo\n10.0.0.2\ttwo\n" in seen
    assert re.search(r"^\d+\.\d+\.\d+\.\d+\tme$", seen, re.MULTILINE)
    busybox.build(context, "-t", "y", "--add-host", "db.example:10.9.8.8")
    assert "10.9.8.8" in busybox("run", "y", "cat", "/seen").stdout
    assert busybox.build(context, *flags).stderr.count("CACHED") == 2
    moved = busybox.build(context, "--add-host", "db.example:10.9.8.9")
    assert moved.stderr.count("CACHED") == 2
    done = busybox.build(context, "--add-host", "db.example:nowhere", check=False)
    assert "expected NAME:ADDRESS" in done.stderr


def test_bounds(busybox, tmp_path):
    """Sizes and limits reach the command and are no part of the key."""
    context = dockerfile(tmp_path / "c", "RUN df -k /dev/shm | tail -n 1; ulimit -n; ulimit -Hn\n")
    done = busybox.build(context, "--shm-size", "3m", "--ulimit", "nofile=77:99")
    assert re.search(r"\s3072\s", done.stderr)
    assert re.search(r"\b77\n.*\b99\n", done.stderr)
    assert busybox.build(context, "--ulimit", "nofile=55").stderr.count("CACHED") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ulimit", "nofile=x"], "expected NAME=SOFT[:HARD]"),
        (["--ulimit", "files=1"], "files is not one of"),
        (["--ulimit", "nofile=2:1"], "the soft limit is above the hard one"),
        (["--shm-size", "much"], "--shm-size"),
        (["--cgroup-parent", "/x/../y"], "--cgroup-parent /x/../y: expected the path of a control group"),
        (["--allow", "everything"], "expected one of network.host, security.insecure"),
    ],
)
def test_wrong_bounds(pybuild, tmp_path, flags, message):
    """Each is an error that says what."""
    done = pybuild.build(dockerfile(tmp_path / "c", ""), *flags, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_no_cache_filter(busybox, tmp_path):
    """The stage runs again, and what takes from it; others do not. A name that no stage has is a warning."""
    context = tmp_path / "c"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox AS one\nRUN head -c 9 /dev/urandom | base64 > /r\nFROM busybox AS two\n"
        "RUN head -c 12 /dev/urandom | base64 > /r\nFROM busybox\n"
        "COPY --from=one /r /1\nCOPY --from=two /r /2\n"
    )

    def built(*flags):
        done = busybox.build(context, "-t", "x", *flags)
        return done, busybox("run", "x", "cat", "/1", "/2").stdout.split()

    _, (one, two) = built()
    assert built()[1] == [one, two]
    _, (first, second) = built("--no-cache-filter", "ONE")
    assert first != one
    assert second == two
    _, (third, fourth) = built("--no-cache-filter", "one,two")
    assert {third, fourth}.isdisjoint({first, second})
    done, _ = built("--no-cache-filter", "three")
    assert "--no-cache-filter three" in done.stderr


def test_entitlements(busybox, tmp_path, as_root):
    """The host's network and full privileges are there when granted, and errors otherwise."""
    network = dockerfile(tmp_path / "n", "RUN --network=host readlink /proc/self/ns/net\n")
    refused = busybox.build(network, check=False)
    assert refused.returncode == 1
    assert "--allow network.host" in refused.stderr
    granted = busybox.build(network, "--allow", "network.host")
    assert os.readlink("/proc/self/ns/net") in granted.stderr

    insecure = dockerfile(tmp_path / "i", "RUN --security=insecure mount -t tmpfs none /mnt || exit 3\n")
    (insecure / "Dockerfile").write_text(
        "FROM busybox\nRUN mkdir -p /mnt\nRUN --security=insecure mount -t tmpfs none /mnt && umount /mnt\n"
    )
    refused = busybox.build(insecure, check=False)
    assert "--allow security.insecure" in refused.stderr
    busybox.build(insecure, "--allow", "security.insecure")
    plain = dockerfile(tmp_path / "p", "RUN mkdir -p /mnt && ! mount -t tmpfs none /mnt\n")
    busybox.build(plain, "--allow", "security.insecure")
