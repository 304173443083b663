"""What -o makes of a build: names, archives, layouts, directories; checked with the tools that read them."""

import hashlib
import io
import json
import os
import stat
import tarfile

import pytest

from tests.e2e.clients import run, skopeo, umoci

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


@pytest.fixture
def context(tmp_path):
    """Two layers on nothing, one of them with a hardlink."""
    folder = tmp_path / "context"
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "a").write_text("a" * 5000)
    os.link(folder / "d" / "a", folder / "d" / "b")
    (folder / "top").write_text("top")
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY d /d\nCOPY top /\nCMD ["/top"]\n')
    return folder


def raw(reference, *flags):
    """A manifest or an index as it is stored."""
    return json.loads(skopeo("inspect", "--raw", *flags, reference).stdout)


def layout_index(folder):
    """The entries of a layout."""
    return json.loads((folder / "index.json").read_text())["manifests"]


def test_all_outputs_of_one_build(pybuild, context, tmp_path):
    """Each output is what its tool reads, under its own names or those of -t; the build ran once."""
    done = pybuild.build(
        context,
        *("-t", "app:1"),
        *("-o", f"type=oci,dest={tmp_path / 'oci.tar'}"),
        *("-o", f"type=oci,tar=false,dest={tmp_path / 'layout'},name=other:2"),
        *("-o", f"type=docker,dest={tmp_path / 'docker.tar'}"),
        *("-o", f"type=docker,tar=false,dest={tmp_path / 'docker'}"),
        *("-o", f"type=local,dest={tmp_path / 'files'}"),
        *("-o", f"type=tar,dest={tmp_path / 'files.tar'}"),
        *("-o", 'type=image,"name=team/x:1,y"'),
    )

    assert done.stderr.count("COPY d /d\n") == 1
    skopeo("inspect", f"oci-archive:{tmp_path / 'oci.tar'}:app:1")
    skopeo("copy", f"docker-archive:{tmp_path / 'docker.tar'}:app:1", f"dir:{tmp_path / 'dir'}")
    umoci("unpack", "--image", f"{tmp_path / 'layout'}:other:2", tmp_path / "bundle")
    trees = (tmp_path / "bundle" / "rootfs", tmp_path / "files")
    assert run("diff", "-r", *trees).stdout == ""
    assert os.stat(tmp_path / "files" / "d" / "a").st_nlink == 2
    (entry,) = json.loads((tmp_path / "docker" / "manifest.json").read_text())
    assert entry["RepoTags"] == ["app:1"]
    assert (tmp_path / "docker" / entry["Config"]).is_file()
    with tarfile.open(tmp_path / "files.tar") as archive:
        assert archive.getmember("d/b").islnk()
    ids = {name: pybuild.image(name)["Id"] for name in ("app:1", "team/x:1", "y:latest")}
    assert set(ids.values()) == {done.stdout.strip()}
    assert pybuild("inspect", "other:2", check=False).returncode == 1


def test_a_layout_keeps_what_it_has(pybuild, context, tmp_path):
    """A second image joins the first one; the same name moves."""
    target = f"type=oci,tar=false,dest={tmp_path / 'layout'}"
    pybuild.build(context, "-t", "one", "-o", target)
    (context / "top").write_text("changed")
    pybuild.build(context, "-t", "two", "-o", target)
    pybuild.build(context, "-t", "one", "-o", target)

    names = [
        entry["annotations"]["org.opencontainers.image.ref.name"]
        for entry in layout_index(tmp_path / "layout")
    ]
    assert sorted(names) == ["one:latest", "two:latest"]
    digests = {entry["digest"] for entry in layout_index(tmp_path / "layout")}
    assert len(digests) == 1
    skopeo("inspect", f"oci:{tmp_path / 'layout'}:two:latest")


def test_annotations_of_one_image(pybuild, context, tmp_path):
    """A flag counts for all outputs, an option for its own; what names the manifest is annotated, too."""
    pybuild.build(
        context,
        *("-t", "app", "--annotation", "a=flag", "--annotation", "manifest,manifest-descriptor:b=both"),
        *("-o", f"type=oci,tar=false,dest={tmp_path / 'layout'},annotation.c=own,annotation.a=wins"),
        *("-o", f"type=oci,dest={tmp_path / 'plain.tar'}"),
    )

    manifest = raw(f"oci:{tmp_path / 'layout'}:app:latest")
    assert manifest["annotations"] == {"a": "wins", "b": "both", "c": "own"}
    assert raw(f"oci-archive:{tmp_path / 'plain.tar'}")["annotations"] == {"a": "flag", "b": "both"}
    (entry,) = layout_index(tmp_path / "layout")
    assert entry["annotations"]["b"] == "both"
    assert json.loads(pybuild("inspect", "--raw", "app").stdout)["annotations"] == {"a": "flag", "b": "both"}
    for flag in ("index:a=b", "index-descriptor:a=b", "manifest[linux/s390x]:a=b"):
        done = pybuild.build(context, "--annotation", flag, check=False)
        assert done.returncode == 1
        assert flag.split(":")[0] in done.stderr


FORMS = {
    "compression=gzip": GZIP,
    "compression=gzip,compression-level=9": GZIP,
    "compression=gzip,compression-level=0": GZIP,
    "compression=zstd,compression-level=0": ZSTD,
    "compression=zstd,compression-level=19": ZSTD,
    "compression=uncompressed": GZIP.removesuffix("+gzip"),
    "oci-mediatypes=false": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "oci-mediatypes=false,compression=zstd": ZSTD,
}


def test_a_directory_with_nothing_else(pybuild, context, tmp_path, monkeypatch):
    """mode=delete removes what is not of the image, follows no link, and needs leave elsewhere."""
    target, precious = tmp_path / "work" / "files", tmp_path / "precious"
    for folder in (target / "d" / "old", precious):
        folder.mkdir(parents=True)
    (precious / "kept").write_text("kept")
    (target / "stale").symlink_to(precious)
    (target / "d" / "old" / "x").write_text("x")
    (target / "top").write_text("earlier")
    refused = pybuild.build(context, "-o", f"type=local,dest={target},mode=delete", check=False)
    assert refused.returncode == 1
    assert "--allow buildx.local.delete" in refused.stderr
    assert (target / "stale" / "kept").exists()

    monkeypatch.chdir(tmp_path / "work")
    pybuild.build(context, "-o", "type=local,dest=files,mode=delete")
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["d", "d/a", "d/b", "top"]
    assert (precious / "kept").read_text() == "kept"
    (target / "more").write_text("")
    pybuild.build(context, "-o", f"type=local,dest={target},mode=copy")
    assert (target / "more").exists()
    flags = ("--allow", "buildx.local.delete", "--platform", "linux/amd64,linux/arm64")
    pybuild.build(context, *flags, "-o", f"type=local,dest={target},mode=delete")
    assert sorted(path.name for path in target.iterdir()) == ["linux_amd64", "linux_arm64"]
    assert (target / "linux_arm64" / "d" / "b").exists()


def test_names_with_digests(pybuild, context):
    """name-canonical and dangling-name-prefix name the image by its digest, also when its tag moves on."""
    pybuild.build(context, "-t", "app:1", "-o", "type=image,name-canonical=true,unpack=true")
    pybuild.build(context, "-o", "type=image,dangling-name-prefix=none/here")
    pybuild.build(context, "-t", "other", "-o", "type=image,dangling-name-prefix=x,danging-name-empty-only=1")
    first = pybuild.image("app:1")
    names = {name.partition("@")[0] for name in first["RepoDigests"]}
    assert names == {"app", "none/here", "other"}
    (context / "top").write_text("changed")
    pybuild.build(context, "-t", "app:1")
    assert pybuild.image("app:1")["Id"] != first["Id"]
    digest = first["RepoDigests"][0].partition("@")[2]
    assert pybuild.image(f"app@{digest}")["Id"] == pybuild.image(f"none/here@{digest}")["Id"] == first["Id"]


def test_forms_of_layers(pybuild, context, tmp_path):
    """Layers leave each output in the form that was asked for, and the manifest says so."""
    outputs = [f"type=oci,dest={tmp_path / str(number)}.tar,{form}" for number, form in enumerate(FORMS)]
    flags = [word for output in outputs for word in ("-o", output)]
    done = pybuild.build(context, "-t", "app", *flags)

    assert done.stderr.count("no effect with zstd") == 1
    for number, layers in enumerate(FORMS.values()):
        archive = f"oci-archive:{tmp_path / str(number)}.tar"
        manifest = raw(archive)
        assert {layer["mediaType"] for layer in manifest["layers"]} == {layers}
        families = {"docker" in kind for kind in (manifest["mediaType"], manifest["config"]["mediaType"])}
        assert families == {"docker" in layers}
        skopeo("copy", archive, f"dir:{tmp_path / 'dir'}{number}")


def test_layers_of_the_base_are_compressed_anew_on_request(pybuild, context, tmp_path, registry):
    """Without force-compression layers that were pulled stay as they came."""
    name = f"{registry.name}/base"
    pybuild.build(context, "-t", name, "--push")
    pybuild("rmi", name)
    pybuild("prune", "-a", "-f")
    (tmp_path / "child").mkdir()
    (tmp_path / "child" / "Dockerfile").write_text(f"FROM {name}\nCOPY Dockerfile /x\n")
    for flags, expected in (("", [GZIP, GZIP, ZSTD]), (",force-compression=true", [ZSTD] * 3)):
        target = tmp_path / f"x{bool(flags)}.tar"
        pybuild.build(tmp_path / "child", "-o", f"type=oci,dest={target},compression=zstd{flags}")
        layers = raw(f"oci-archive:{target}")["layers"]
        assert [layer["mediaType"] for layer in layers] == expected
        skopeo("copy", f"oci-archive:{target}", f"dir:{tmp_path / 'dir'}{bool(flags)}")


def test_pushes_of_several_outputs(pybuild, context, tmp_path, registry):
    """Each registry output pushes its own names in its own form; by digest without a tag."""
    pybuild.build(
        context,
        *("-t", "app", "--metadata-file", tmp_path / "told.json"),
        *("-o", f'type=registry,"name={registry.name}/a:1,{registry.name}/b"'),
        *("-o", f"type=image,push=true,name={registry.name}/c,compression=zstd,store=false"),
        *("-o", f"type=image,push=true,push-by-digest=true,name={registry.name}/d"),
    )

    for name, form in (("a:1", GZIP), ("b", GZIP), ("c", ZSTD)):
        manifest = raw(f"docker://{registry.name}/{name}", "--tls-verify=false")
        assert {layer["mediaType"] for layer in manifest["layers"]} == {form}
    told = json.loads((tmp_path / "told.json").read_text())
    there = registry.get("/v2/a/manifests/1")
    assert told["containerimage.descriptor"]["size"] == len(there)
    assert told["containerimage.digest"] == told["containerimage.descriptor"]["digest"]
    assert told["containerimage.digest"] == f"sha256:{hashlib.sha256(there).hexdigest()}"
    pushed = told["pybuild.pushed"]
    digest = pushed[f"{registry.name}/d:latest"]
    raw(f"docker://{registry.name}/d@{digest}", "--tls-verify=false")
    assert json.loads(registry.get("/v2/d/tags/list"))["tags"] == []
    assert pybuild("inspect", f"{registry.name}/a:1").returncode == 0
    assert pybuild("inspect", f"{registry.name}/c", check=False).returncode == 1


def test_push_lets_image_outputs_push(pybuild, context, registry):
    """--push pushes what image outputs there are, or else the names of -t."""
    pybuild.build(context, "--push", "-o", f"type=image,name={registry.name}/only", "-t", "local")
    assert json.loads(registry.get("/v2/_catalog"))["repositories"] == ["only"]

    nameless = pybuild.build(context, "--push", check=False)
    assert nameless.returncode == 1
    assert "nothing to push" in nameless.stderr


def test_times_of_unpacked_archives(pybuild, tmp_path):
    """rewrite-timestamp caps the times that members of an archive brought, in that output alone."""
    (tmp_path / "c").mkdir()
    with tarfile.open(tmp_path / "c" / "a.tar", "w") as archive:
        for name, when in (("old", 1_000_000_000), ("new", 1_900_000_000)):
            member = tarfile.TarInfo(name)
            member.mtime, member.size = when, 1
            archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "c" / "Dockerfile").write_text("FROM scratch\nADD a.tar /\n")

    def times(options):
        target = tmp_path / "x"
        pybuild.build(
            tmp_path / "c",
            *("--build-arg", "SOURCE_DATE_EPOCH=1600000000"),
            *("-o", f"type=oci,tar=false,dest={target},compression=uncompressed,name=x{options}"),
        )
        (layer,) = raw(f"oci:{target}:x:latest")["layers"]
        with tarfile.open(target / "blobs" / layer["digest"].replace(":", "/")) as archive:
            found = {member.name: int(member.mtime) for member in archive if member.isreg()}
        skopeo("copy", f"oci:{target}:x:latest", f"dir:{tmp_path / 'dir'}")
        return found

    assert times("") == {"old": 1_000_000_000, "new": 1_900_000_000}
    assert times(",rewrite-timestamp=true") == {"old": 1_000_000_000, "new": 1_600_000_000}
    target = tmp_path / "files"
    pybuild.build(tmp_path / "c", "--build-arg", "SOURCE_DATE_EPOCH=1600000000", "-o", target)
    assert {path.stat().st_mtime for path in target.iterdir()} == {1_600_000_000}


def test_squash(busybox, tmp_path):
    """The layers of the build become one over those of the base; removed files stay removed."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(
        "FROM busybox\nRUN echo 1 > /one; echo 2 > /two; rm /etc/group\n"
        "RUN rm /one; rm -r /home; mkdir /home\nENV A=b\nRUN echo 3 > /home/three\n"
    )
    busybox.build(tmp_path / "c", "-t", "plain")
    busybox.build(tmp_path / "c", "-t", "squashed", "--squash")
    again = busybox.build(tmp_path / "c", "-t", "squashed", "--squash")

    base, plain, squashed = (busybox.image(name) for name in ("busybox", "plain", "squashed"))
    layers = squashed["RootFS"]["Layers"]
    assert layers[:-1] == base["RootFS"]["Layers"]
    assert len(plain["RootFS"]["Layers"]) == len(layers) + 2
    assert again.stdout.strip() == squashed["Id"]
    assert "joining" not in again.stderr
    assert squashed["Config"] == plain["Config"]
    for name in ("plain", "squashed"):
        busybox("export", "-o", tmp_path / f"{name}.tar", name)
    listed = [run("tar", "-tvf", tmp_path / f"{name}.tar").stdout for name in ("plain", "squashed")]
    assert listed[0] == listed[1]
    assert "home/three" in listed[1]
    assert not any(path in listed[1] for path in (" one\n", "etc/group"))
    skopeo("copy", f"oci:{busybox.root}:squashed:latest", f"oci:{tmp_path / 'layout'}:x")
    umoci("unpack", "--image", f"{tmp_path / 'layout'}:x", tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "rootfs" / "etc" / "group").exists()


def test_devices_and_pipes_stay_what_they_are(pybuild, context, tmp_path):
    """Writing to what is no regular file goes through it, and never takes its place."""
    device, pipe = tmp_path / "null", tmp_path / "pipe"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        device = tmp_path / "other-pipe"
        os.mkfifo(device)
    os.mkfifo(pipe)
    readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in (device, pipe)]
    try:
        done = pybuild.build(
            context, "--metadata-file", device, "--iidfile", pipe, "-o", f"type=tar,dest={device}"
        )
        assert os.read(readers[1], 1000).decode() == done.stdout.strip()
    finally:
        for reader in readers:
            os.close(reader)
    assert not stat.S_ISREG(device.stat().st_mode)
    assert pipe.is_fifo()
