"""RUN."""

import pytest

from builder.errors import InvalidOption, MissingDevice, MissingSource
from builder.ops import Exec, InlineFile
from oci_image.platform import Platform


def test_shell_form_and_exec_form(plans):
    """Shell form should go to the SHELL as one string, exec form should be as it is; nothing is expanded."""
    assert plans.op("FROM alpine\nRUN echo $A &&  b\n").argv == ("/bin/sh", "-c", "echo $A &&  b")
    assert plans.op('FROM alpine\nRUN ["echo", "$A"]\n').argv == ("echo", "$A")
    assert plans.op('FROM alpine\nSHELL ["/x", "-y"]\nRUN z\n').argv == ("/x", "-y", "z")


def test_what_a_command_starts_with(plans):
    """A command should have the directory, user, variables and platform in force."""
    op = plans.op("FROM app\nENV A=1\nUSER me:grp\nWORKDIR sub\nRUN x\n")
    assert isinstance(op, Exec)
    assert (op.cwd, op.user, str(op.platform), op.epoch) == ("/srv/sub", "me:grp", "linux/amd64", 315_532_800)
    assert op.env[0].startswith("PATH=")
    assert "A=1" in op.env


def test_history_of_run(plans):
    """RUN should be shown with its whole argument list."""
    assert plans.history('FROM alpine\nRUN ["a", "b c"]\n') == ["RUN a b c # buildkit"]
    assert plans.history("FROM alpine\nRUN a  b\n") == ["RUN /bin/sh -c a  b # buildkit"]


def test_a_heredoc_alone_is_the_script_of_the_shell(plans):
    """The body should be what the shell gets, without tabs for `<<-` and never expanded."""
    assert plans.op("FROM alpine\nRUN <<EOF\necho $A\nEOF\n").argv == ("/bin/sh", "-c", "echo $A\n")
    assert plans.op("FROM alpine\nRUN <<-EOF\n\techo\n\tEOF\n").argv[-1] == "echo\n"
    assert plans.op("FROM alpine\nRUN <<EOF\na\nEOF\n").files == ()


def test_a_heredoc_with_an_interpreter_is_a_file(plans):
    """A body that starts with `#!` should be an executable file that the shell calls."""
    op = plans.op("FROM alpine\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n")
    assert op.argv == ("/bin/sh", "-c", "/dev/pipes/EOF")
    content = b"#!/usr/bin/env python3\nprint(1)\n"
    assert op.files == (InlineFile(path="/dev/pipes/EOF", content=content, mode=0o755),)


def test_other_heredocs_are_left_to_the_shell(plans):
    """A heredoc beside a command, or several, should reach the shell as they stand."""
    text = "FROM alpine\nRUN cat <<-A 3<<B >x\n\tone\n\tA\ntwo\nB\n"
    assert plans.op(text).argv[-1] == "cat <<-A 3<<B >x\n\tone\nA\ntwo\nB"


def test_names_of_heredoc_steps(plans):
    """Progress should show the first line of a heredoc."""
    names = [step.origin.name for step in plans("FROM alpine\nrun <<EOF\necho 1\necho 2\nEOF\n").steps()]
    assert names[-1] == "RUN <<EOF (echo 1...)"


@pytest.mark.parametrize(
    ("flag", "request_network", "expected"),
    [
        ("", "default", "default"),
        ("", "none", "none"),
        ("--network=none", "default", "none"),
        ("--network=default", "host", "host"),
        ("--network=host", "host", "host"),
        ("--network=none", "host", "none"),
    ],
)
def test_networks(plans, flag, request_network, expected):
    """The flag should beat the request, and `default` mean what the request says."""
    assert plans.op(f"FROM alpine\nRUN {flag} x\n", network=request_network).network == expected


@pytest.mark.parametrize(
    ("flag", "error", "message"),
    [
        ("--network=host", InvalidOption, "entitlement network.host"),
        ("--security=insecure", InvalidOption, "entitlement security.insecure"),
        ("--device=a.b/gpu=0,required", MissingDevice, 'required device "a.b/gpu=0" is not registered'),
    ],
)
def test_privileges_are_refused_by_name(plans, flag, error, message):
    """What the build may not grant should be an error that names the entitlement and the line."""
    with pytest.raises(error, match=message) as caught:
        plans(f"FROM alpine\nRUN {flag} x\n")
    assert caught.value.span.start_line == 2
    assert caught.value.hint


def test_entitlements(plans):
    """What was granted should be used where the Dockerfile asks for it, and nowhere else."""
    text = "FROM alpine\nRUN --network=host --security=insecure x\nRUN y\n"
    head = plans(text, entitlements=frozenset(("network.host", "security.insecure"))).targets[0].head
    assert (head.inputs[0].op.network, head.inputs[0].op.security) == ("host", "insecure")
    assert (head.op.network, head.op.security) == ("default", "sandbox")


def test_further_hosts(plans):
    """Their names should be part of the key of RUN, not their addresses."""

    def head(*hosts):
        return plans("FROM alpine\nRUN x\n", add_hosts=hosts).targets[0].head

    assert head("a:1.2.3.4").op.hosts == ("a:1.2.3.4",)
    assert head("a:1.2.3.4") == head("a:1.2.3.5")
    assert len({head(), head("a:1.2.3.4"), head("b:1.2.3.4")}) == 3


def test_stages_that_run_again(plans):
    """A filter should be about the stage alone, by name or number; an unknown one is a warning."""
    text = "FROM alpine AS one\nRUN 1\nFROM one AS two\nRUN 2\nFROM two\nRUN 3\n"

    def again(*names):
        graph = plans(text, no_cache_filter=names)
        return {step.origin.name for step in graph.steps() if step.origin.no_cache}, graph.warnings

    assert again("TWO") == ({"RUN 2"}, ())
    assert again("0", "2") == ({"RUN 1", "RUN 3"}, ())
    assert again("four")[0] == set()
    assert "--no-cache-filter four" in again("four")[1][0]


def mount(plans, flag, before="", **options):
    """The only mount of a RUN."""
    return plans.op(f"FROM alpine\n{before}RUN --mount={flag} x\n", **options).mounts[0]


def test_bind_mounts_of_the_context(plans):
    """A bind mount should be keyed by the content of its source, and read-only unless it asks."""
    plans.tree({"d/f": "1", "g": "2"})
    bound = mount(plans, "source=d,target=/m")
    assert (bound.type, bound.target, bound.source, bound.context, bound.readonly) == (
        "bind",
        "/m",
        "d",
        "",
        True,
    )
    assert not mount(plans, "src=d,dst=/m,rw").readonly
    assert mount(plans, "target=m", before="WORKDIR /w\n").target == "/w/m"
    before = plans("FROM alpine\nRUN --mount=source=d,target=/m x\n").targets[0].head
    plans.tree({"g": "3"})
    assert plans("FROM alpine\nRUN --mount=source=d,target=/m x\n").targets[0].head == before
    plans.tree({"d/f": "2"})
    assert plans("FROM alpine\nRUN --mount=source=d,target=/m x\n").targets[0].head != before


def test_a_bind_mount_of_nothing(plans):
    """A source that is not there should be an error at its line."""
    with pytest.raises(MissingSource) as caught:
        mount(plans, "source=none,target=/m")
    assert caught.value.span.start_line == 2


def test_mounts_from_stages_and_images(plans):
    """`from` should be an input of the step, each once."""
    text = (
        "FROM bare AS tools\nRUN make\nFROM alpine\n"
        "RUN --mount=from=tools,source=/o,target=/a --mount=from=app,target=/b"
        " --mount=from=tools,target=/c x\n"
    )
    head = plans(text).targets[0].head
    assert [(one.input, one.source) for one in head.op.mounts] == [(1, "/o"), (2, "/"), (1, "/")]
    assert [type(step.op).__name__ for step in head.inputs] == ["BaseImage", "Exec", "BaseImage"]


def test_cache_mounts(plans):
    """A cache should be called like its target unless it has an id, and be writable and shared."""
    cache = mount(plans, "type=cache,target=/var/cache/x/")
    assert (cache.id, cache.readonly, cache.sharing, cache.mode) == ("/var/cache/x", False, "shared", None)
    cache = mount(plans, "type=cache,id=c,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro")
    assert (cache.id, cache.sharing, cache.mode, cache.uid, cache.gid) == ("c", "locked", 0o700, 1, 2)
    assert cache.readonly


def test_a_cache_is_shared_by_stages_and_platforms(plans):
    """The id should say nothing of the stage and the platform, so that equal targets share a cache."""
    text = (
        "FROM alpine AS a\nRUN --mount=type=cache,target=/c x\nFROM a\nRUN --mount=type=cache,target=/c y\n"
    )
    head = plans(text).targets[0].head
    other = plans(text, platform=Platform.parse("linux/arm64")).targets[0].head
    assert {step.op.mounts[0].id for step in (head, head.inputs[0], other)} == {"/c"}


def test_network_and_security_are_part_of_the_key(plans):
    """The same command with other rights should be another step."""

    def digest(flags):
        text = f"FROM alpine\nRUN {flags} x\n"
        allowed = frozenset(("network.host", "security.insecure"))
        return plans(text, entitlements=allowed).targets[0].head.digest

    flags = ("", "--network=none", "--network=host", "--security=insecure")
    assert len({digest(flag) for flag in flags}) == 4


def test_cache_mounts_of_a_namespace(plans):
    """BUILDKIT_CACHE_MOUNT_NS should keep caches apart, and count for nothing else."""
    cache = mount(plans, "type=cache,target=/c", build_args={"BUILDKIT_CACHE_MOUNT_NS": "mine"})
    assert cache.id == "mine//c"

    def head(**arguments):
        text = "FROM alpine\nRUN --mount=type=cache,target=/c x\n"
        return plans(text, build_args=arguments).targets[0].head

    assert head(BUILDKIT_CACHE_MOUNT_NS="mine") == head()


def test_the_name_of_the_sandbox(plans):
    """BUILDKIT_SANDBOX_HOSTNAME should name the sandbox, and be part of the key; no name can be anything."""
    text = "FROM alpine\nRUN hostname\n"

    def head(**arguments):
        return plans(text, build_args=arguments).targets[0].head

    assert head(BUILDKIT_SANDBOX_HOSTNAME="box").op.hostname == "box"
    assert len({head(), head(BUILDKIT_SANDBOX_HOSTNAME="a"), head(BUILDKIT_SANDBOX_HOSTNAME="b")}) == 3
    for name in ("a b", "a/b", "x" * 65, "a\n"):
        with pytest.raises(InvalidOption, match="BUILDKIT_SANDBOX_HOSTNAME"):
            head(BUILDKIT_SANDBOX_HOSTNAME=name)


def test_what_of_a_cache_mount_is_in_the_key(plans):
    """The target of a cache should be in the key, its id and sharing mode should not."""

    def head(flag):
        return plans(f"FROM alpine\nRUN --mount=type=cache,{flag} x\n").targets[0].head

    assert head("target=/a,id=1") == head("target=/a,id=2,sharing=private")
    assert head("target=/a") != head("target=/b")


def test_tmpfs_mounts(plans):
    """A tmpfs should have its size and be writable."""
    tmpfs = mount(plans, "type=tmpfs,target=/t,size=64m")
    assert (tmpfs.type, tmpfs.size, tmpfs.readonly) == ("tmpfs", 64 * 1024 * 1024, False)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("type=secret,id=a/b", ("a/b", "/run/secrets/b", "", 0o400, False)),
        ("type=secret,id=s,target=/t,required", ("s", "/t", "", 0o400, True)),
        ("type=secret,target=x/key", ("key", "/x/key", "", 0o400, False)),
        ("type=secret,id=s,env=TOKEN", ("s", "", "TOKEN", 0o400, False)),
        ("type=secret,id=s,env=TOKEN,target=/t,mode=0444", ("s", "/t", "TOKEN", 0o444, False)),
        ("type=ssh", ("default", "/run/buildkit/ssh_agent.0", "", 0o600, False)),
        ("type=ssh,id=k,target=/s,required", ("k", "/s", "", 0o600, True)),
    ],
)
def test_secrets_and_agents(plans, flag, expected):
    """Secrets and agents should be passed on by name and place."""
    one = mount(plans, flag)
    assert (one.id, one.target, one.env, one.mode, one.required) == expected


def test_values_of_mounts_are_expanded(plans):
    """Variables in mounts should have the value of the moment."""
    cache = mount(plans, "type=cache,target=/c/$N,uid=${U}", before="ARG N=x\nENV U=7\n")
    assert (cache.target, cache.uid) == ("/c/x", 7)


@pytest.mark.parametrize("target", ["/", "/.", ".."])
def test_nothing_is_mounted_over_the_root(plans, target):
    """The root as target should be an error."""
    with pytest.raises(InvalidOption, match="invalid mount target"):
        mount(plans, f"type=tmpfs,target={target}")
    with pytest.raises(InvalidOption, match="invalid mount target"):
        mount(plans, "type=tmpfs")


def test_a_mount_without_a_target_is_put_upon_the_working_directory(plans):
    """The target should be WORKDIR, and a cache without a name be called as BuildKit calls it."""
    plans.tree({"d/f": "1"})
    text = "FROM alpine\nWORKDIR /w\nRUN --mount=source=d --mount=type=cache,from= true\n"
    bound, cache = plans.op(text).mounts
    assert (bound.type, bound.target, bound.source) == ("bind", "/w", "d")
    assert (cache.type, cache.target, cache.id, cache.input) == ("cache", "/w", ".", None)
