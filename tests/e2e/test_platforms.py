"""Builds for several platforms: one index everywhere, shared steps, and commands for another processor."""

import json
import os
import shutil
import struct
import subprocess
import sys

import pytest

from tests.e2e.clients import Podman, run, skopeo, umoci
from tests.e2e.support import ROOT, Pybuild, missing, need

BOTH = ("--platform", "linux/amd64,linux/arm64")


def context_of(folder, text):
    """A build context with a Dockerfile and a file."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(text)
    (folder / "file").write_text("content")
    return folder


@pytest.fixture
def context(tmp_path):
    """Files that differ by platform."""
    return context_of(
        tmp_path / "context",
        "FROM scratch AS base\nCOPY file /shared\nFROM base\nARG TARGETARCH TARGETPLATFORM BUILDPLATFORM\n"
        "COPY file /for-$TARGETARCH\nENV T=$TARGETPLATFORM B=$BUILDPLATFORM\nLABEL x=y\n",
    )


def index_of(reference, *flags):
    """An index, and its manifests by platform."""
    index = json.loads(skopeo("inspect", "--raw", *flags, reference).stdout)
    found = {f"{m['platform']['os']}/{m['platform']['architecture']}": m for m in index["manifests"]}
    return index, found


def test_an_index_everywhere(pybuild, context, registry, tmp_path):
    """Store, registry and archive hold the same index; real clients take the image that they want."""
    name = f"{registry.name}/app:1"
    done = pybuild.build(
        context,
        *(*BOTH, "-t", name, "--push", "--iidfile", tmp_path / "id"),
        *("--metadata-file", tmp_path / "facts"),
        *("-o", f"type=oci,dest={tmp_path / 'oci.tar'}", "-o", f"type=local,dest={tmp_path / 'files'}"),
        *("-o", f"type=tar,dest={tmp_path / 'files.tar'}"),
    )

    pushed, found = index_of(f"docker://{name}", "--tls-verify=false")
    assert index_of(f"oci-archive:{tmp_path / 'oci.tar'}")[0] == pushed
    assert list(found) == ["linux/amd64", "linux/arm64"]
    stored, _ = index_of(f"oci:{pybuild.root}:{name}")
    assert [entry["platform"] for entry in stored["manifests"]] == [
        e["platform"] for e in pushed["manifests"]
    ]
    assert (tmp_path / "id").read_text() == done.stdout.strip()
    facts = json.loads((tmp_path / "facts").read_text())
    assert "containerimage.config.digest" not in facts
    assert facts["containerimage.digest"] == facts["pybuild.pushed"][name]
    assert done.stdout.strip().startswith("sha256:")
    assert done.stderr.count("COPY file /shared\n") == 1
    listed = sorted(str(path.relative_to(tmp_path / "files")) for path in (tmp_path / "files").glob("*/*"))
    assert listed == [
        *("linux_amd64/for-amd64", "linux_amd64/shared"),
        *("linux_arm64/for-arm64", "linux_arm64/shared"),
    ]
    assert "linux_arm64/for-arm64" in run("tar", "-tf", tmp_path / "files.tar").stdout.split()
    for arch in ("amd64", "arm64"):
        flags = ("--override-arch", arch)
        skopeo(*flags, "copy", f"oci-archive:{tmp_path / 'oci.tar'}", f"oci:{tmp_path / arch}:x")
        umoci("unpack", "--image", f"{tmp_path / arch}:x", tmp_path / f"bundle-{arch}")
        assert (tmp_path / f"bundle-{arch}" / "rootfs" / f"for-{arch}").read_text() == "content"
        told = json.loads(
            skopeo(*flags, "inspect", "--tls-verify=false", "--config", f"docker://{name}").stdout
        )
        assert f"T=linux/{arch}" in told["config"]["Env"]
        assert "B=linux/amd64" in told["config"]["Env"] or os.uname().machine != "x86_64"


def test_podman_pulls_the_right_one(pybuild, context, registry, tmp_path):
    """podman finds the image for each platform in our registry."""
    name = f"{registry.name}/app:1"
    docker_types = f"type=registry,oci-mediatypes=false,name={name}-list"
    pybuild.build(context, *BOTH, "-o", f"type=registry,name={name}", "-o", docker_types)
    podman = Podman(tmp_path)
    for platform, one in (("linux/arm64", name), ("linux/amd64", name), ("linux/arm64", f"{name}-list")):
        podman("pull", "--quiet", "--tls-verify=false", "--platform", platform, one)
        (told,) = json.loads(podman("image", "inspect", one).stdout)
        assert f"T={platform}" in told["Config"]["Env"]
    listed, found = index_of(f"docker://{name}-list", "--tls-verify=false")
    assert {listed["mediaType"], *(entry["mediaType"] for entry in found.values())} == {
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }


def test_buildah_builds_the_same(pybuild, context, tmp_path):
    """buildah makes an index of the same platforms with the same configurations and files."""
    buildah = need("buildah")
    text = (context / "Dockerfile").read_text()
    (context / "Dockerfile").write_text(
        text.replace("ARG TARGETARCH ", "ARG TARGETARCH\nARG ")
        .replace(" BUILDPLATFORM", "")
        .replace(" B=$BUILDPLATFORM", "")
    )
    stores = ("--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs")
    run(buildah, *stores, "bud", "--isolation", "chroot", *BOTH, "--manifest", "m", context)
    run(buildah, *stores, "manifest", "push", "--all", "m", f"oci:{tmp_path / 'theirs'}:m")
    pybuild.build(context, *BOTH, "-o", f"type=oci,tar=false,dest={tmp_path / 'ours'},name=m")

    told = []
    for layout in ("theirs:m", "ours:m:latest"):
        source = f"oci:{tmp_path}/{layout}"
        _, found = index_of(source)
        for platform in found:
            flags = ("--override-arch", platform.partition("/")[2])
            config = json.loads(skopeo(*flags, "inspect", "--config", source).stdout)
            place = tmp_path / f"{layout[:4]}-{flags[1]}"
            skopeo(*flags, "copy", source, f"oci:{place}:x")
            umoci("unpack", "--image", f"{place}:x", place / "bundle")
            files = sorted(
                str(path.relative_to(place / "bundle" / "rootfs"))
                for path in (place / "bundle" / "rootfs").rglob("*")
            )
            variables = [item for item in config["config"]["Env"] if item.startswith("T=")]
            labels = config["config"]["Labels"]
            told.append((platform, config["architecture"], variables, labels.get("x"), files))
    assert sorted(told[:2]) == sorted(told[2:])  # buildah lists them as they are done


def test_the_same_index_from_fresh_stores(context, tmp_path):
    """Two stores that know nothing come to the same digest; so does a build that is all cached."""
    stores = [Pybuild(tmp_path / "one"), Pybuild(tmp_path / "two")]
    ids = [store.build(context, *BOTH, "-t", "app").stdout for store in [*stores, stores[0]]]

    assert len(set(ids)) == 1


def test_annotations_of_an_index(pybuild, context, tmp_path):
    """Every level has its own, and a platform's win over those for all."""
    pybuild.build(
        context,
        *(*BOTH, "-t", "app", "--annotation", "index:i=1", "--annotation", "m=all"),
        *(
            "--annotation",
            "manifest[linux/arm64]:m=arm",
            "--annotation",
            "manifest-descriptor[linux/arm64]:d=2",
        ),
        *("-o", f"type=oci,tar=false,dest={tmp_path / 'x'},annotation-index-descriptor.e=3"),
    )

    index, found = index_of(f"oci:{tmp_path / 'x'}:app:latest")
    assert index["annotations"] == {"i": "1"}
    assert [entry.get("annotations") for entry in found.values()] == [None, {"d": "2"}]
    (entry,) = json.loads((tmp_path / "x" / "index.json").read_text())["manifests"]
    assert entry["annotations"]["e"] == "3"
    manifests = [
        json.loads((tmp_path / "x" / "blobs" / entry["digest"].replace(":", "/")).read_text())
        for entry in found.values()
    ]
    assert [manifest["annotations"] for manifest in manifests] == [{"m": "all"}, {"m": "arm"}]


def test_the_store_keeps_all_platforms(pybuild, context, registry, tmp_path):
    """Clean-ups keep every image of an index; verbs show, save, pull, push and remove them."""
    name = f"{registry.name}/app:1"
    pybuild.build(context, *BOTH, "-t", name, "--push")
    (context / "Dockerfile").write_text(f"FROM --platform=linux/arm64 {name}\nCOPY file /more\n")
    pybuild("prune", "-a", "-f")

    rows = [json.loads(line) for line in pybuild("images", "--format", "json").stdout.splitlines()]
    assert [row["Platform"] for row in rows] == ["linux/amd64", "linux/arm64"]
    assert "linux/arm64" in pybuild("images").stdout
    arm = json.loads(pybuild("inspect", "--platform", "linux/arm64", name).stdout)[0]
    assert arm["Architecture"] == "arm64"
    assert [one["Platform"] for one in arm["Platforms"]] == ["linux/amd64", "linux/arm64"]
    assert pybuild("inspect", "--platform", "linux/s390x", name, check=False).returncode == 1
    part = pybuild("rmi", arm["Id"], check=False)
    assert (part.returncode, "one of those of the index" in part.stderr) == (1, True)

    pybuild("save", "--format", "oci", "-o", tmp_path / "all.tar", name)
    pybuild("save", "--platform", "linux/arm64", "-o", tmp_path / "arm.tar", name)
    assert set(index_of(f"oci-archive:{tmp_path / 'all.tar'}")[1]) == {"linux/amd64", "linux/arm64"}
    fresh = Pybuild(tmp_path / "fresh")
    fresh("load", "-i", tmp_path / "all.tar")
    assert len(fresh("images", "-q").stdout.split()) == 2
    fresh("rmi", name)
    assert [path for path in (fresh.root / "blobs" / "sha256").iterdir() if path.is_file()] == []
    fresh("load", "-i", tmp_path / "arm.tar")
    assert fresh.image(name)["Architecture"] == "arm64"
    fresh("rmi", name)

    fresh("pull", "--all-platforms", name)
    digest = index_of(f"docker://{name}", "--tls-verify=false")[0]
    assert json.loads(fresh("inspect", "--raw", name).stdout) == digest
    again = f"{registry.name}/again:1"
    fresh("tag", name, again)
    fresh("push", "-q", again)
    assert index_of(f"docker://{again}", "--tls-verify=false")[0] == digest
    pybuild.build(context, "-t", "child", "--platform", "linux/arm64")
    assert pybuild.image("child")["Architecture"] == "arm64"


def test_a_stage_for_the_build_platform_runs_once(busybox, tmp_path):
    """$BUILDPLATFORM stages are the same step for every target, commands included."""
    context = context_of(
        tmp_path / "c",
        "FROM --platform=$BUILDPLATFORM busybox AS tool\nRUN cat /proc/sys/kernel/random/uuid > /made\n"
        "FROM scratch\nARG TARGETARCH\nCOPY --from=tool /made /$TARGETARCH\n",
    )
    done = busybox.build(context, *BOTH, "-o", tmp_path / "out")

    assert done.stderr.count("RUN cat /proc") == 1
    made = {(tmp_path / "out" / f"linux_{arch}" / arch).read_text() for arch in ("amd64", "arm64")}
    assert len(made) == 1


def test_folders_of_platforms(pybuild, context, tmp_path):
    """platform-split decides about the folders; without them files must not collide."""
    done = pybuild.build(
        context, *BOTH, "-o", f"type=local,dest={tmp_path / 'a'},platform-split=false", check=False
    )
    assert done.returncode == 1
    assert "cannot overwrite /shared of linux/amd64" in done.stderr
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY file /for-$TARGETARCH\n")
    pybuild.build(context, *BOTH, "-o", f"type=local,dest={tmp_path / 'b'},platform-split=false")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["for-amd64", "for-arm64"]
    pybuild.build(context, "-o", f"type=local,dest={tmp_path / 'c'},platform-split=true")
    assert [path.name[:6] for path in (tmp_path / "c").iterdir()] == ["linux_"]


def test_what_several_platforms_cannot_be(pybuild, context, tmp_path):
    """docker archives hold one image; a platform that is none is named."""
    done = pybuild.build(context, *BOTH, "-o", f"type=docker,dest={tmp_path / 'x.tar'}", check=False)
    assert (done.returncode, "type=docker" in done.stderr) == (1, True)
    done = pybuild.build(context, "--platform", "linux/amd64,nonsense", check=False)
    assert (done.returncode, "--platform nonsense" in done.stderr) == (1, True)
    done = pybuild.build(context, "--platform", "local,local", "-t", "one")
    assert "Platforms" not in pybuild.image("one")
    pybuild.build(context, "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-t", "one")
    assert len(pybuild.image("one")["Platforms"]) == 1


def arm64_program(text):
    """A static program for arm64 that prints a text and ends well."""
    code = struct.pack(
        "<8I",
        0xD2800020,  # mov x0, 1
        0x100000E1,  # adr x1, text
        0xD2800002 | len(text) << 5,  # mov x2, length
        0xD2800808,  # mov x8, write
        0xD4000001,  # svc 0
        0xD2800000,  # mov x0, 0
        0xD2800BA8,  # mov x8, exit
        0xD4000001,  # svc 0
    )
    base, head = 0x400000, 64 + 56
    body = code + text
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 2, 183, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    size = head + len(body)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + body


@pytest.fixture
def foreign(tmp_path):
    """A build that runs a program for arm64."""
    if os.uname().machine != "x86_64":
        missing("x86_64", "the machine is no x86_64")
    folder = context_of(tmp_path / "foreign", 'FROM scratch\nCOPY hello /hello\nRUN ["/hello"]\n')
    (folder / "hello").write_bytes(arm64_program(b"hello from arm64\n"))
    (folder / "hello").chmod(0o755)
    return folder


def test_a_command_for_another_processor_without_a_handler(pybuild, foreign):
    """The error stands at the line of the RUN, names what the kernel lacks, and says what helps."""
    if os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64"):
        missing("no binfmt", "this machine has a handler for arm64")
    done = pybuild.build(foreign, "--platform", "linux/arm64", check=False)

    assert done.returncode == 1
    assert "Dockerfile:3" in done.stderr
    assert "no handler for arm64 in binfmt_misc" in done.stderr
    assert "qemu-user-static" in done.stderr


REGISTER = r""":arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"""
MASK = r"""\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"""


def with_handler(flags, *command, env):
    """Run a command in a user namespace whose binfmt_misc has a handler for arm64; both end with it."""
    emulator = need("qemu-aarch64-static", what="qemu")
    place = "/proc/sys/fs/binfmt_misc"
    script = (
        f"mount -t binfmt_misc none {place} && printf '%s\n' '{REGISTER}:{MASK}:{emulator}:{flags}' "
        f'> {place}/register || exit 99; exec "$@"'
    )
    namespaces = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    done = subprocess.run(
        [*namespaces, *map(str, command)], env=env, capture_output=True, check=False, timeout=120
    )
    if done.returncode == 99:
        missing("binfmt", "a user namespace has no binfmt_misc of its own here")
    return done


@pytest.mark.parametrize(("flags", "works"), [("F", True), ("", False)])
def test_a_command_for_another_processor(pybuild, foreign, as_root, flags, works):
    """With a handler whose interpreter is open already it runs, otherwise the flag F is named."""
    del as_root
    shutil.which("unshare") or missing("unshare", "unshare is not installed")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYBUILD_ROOT": str(pybuild.root)}
    build = ("-m", "builder", "--progress", "plain", "--platform", "linux/arm64", "-t", "x", foreign)
    done = with_handler(flags, sys.executable, *build, env=env)

    text = done.stderr.decode()
    assert (done.returncode == 0) == works, text
    assert ("hello from arm64" in text) == works
    assert ("has no flag F" in text) != works
