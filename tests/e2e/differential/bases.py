"""
The base images of the comparison, as archives of `docker save`, which every builder loads.

busybox is the one of testdata/bases; `odd` adds files that builders trip over; `configured` fills every field
of a configuration; `onbuild` has triggers; `bare` is files without any configuration.
"""

import hashlib
import io
import json
import tarfile

from tests.e2e.differential.cases import Dir, Fifo, File, Hard, Link, archive

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ODD = {
    "etc/": Dir(),
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002:App:/home/app:/bin/sh\n"
    "lone:x:3003:3999::/:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nappgroup:x:1002:\nextra:x:2000:app\nnogroup:x:65534:\n",
    "usr/lib/": Dir(),
    "usr/lib/real": "real",
    "lib": Link("usr/lib"),
    "abs": Link("/usr/lib"),
    "srv/": Dir(),
    "srv/escape": Link("../../../../usr/lib"),
    "srv/chain": Link("../abs"),
    "srv/dangling": Link("/nowhere/far"),
    "srv/loop": Link("loop"),
    "srv/to-file": Link("../usr/lib/real"),
    "home/app/": Dir(0o750, (1001, 1002)),
    "private/": Dir(0o700, (1001, 1002)),
    "private/keep": File("kept", 0o600, (1001, 1002)),
    "sticky/": Dir(0o3777, (0, 2000)),
    "opt/": Dir(),
    "opt/h1": "hard",
    "opt/h2": Hard("opt/h1"),
    "opt/suid": File("suid", 0o4755),
    "opt/with space": "space",
    "opt/ünï": "unicode",
    "opt/attr": File("attr", xattrs={"user.color": "red"}),
    "opt/pipe": Fifo(),
    "full/": Dir(),
    "full/a": "a",
    "full/sub/": Dir(),
    "full/sub/b": "b",
    "full/sub/deep/": Dir(),
    "full/sub/deep/c": "c",
}
CONFIGURED = {
    "Env": [PATH, "A=base", "B=other", "EMPTY="],
    "User": "nobody",
    "WorkingDir": "/srv/base",
    "Entrypoint": ["/bin/entry", "x"],
    "Cmd": ["base", "cmd"],
    "Shell": ["/bin/sh", "-ec"],
    "Volumes": {"/vol": {}},
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"from": "base", "keep": "1"},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "Retries": 2},
}
ONBUILD = {
    "Env": [PATH],
    "OnBuild": ["ENV TRIGGERED=yes", "COPY trigger.txt /onbuild/", "RUN echo $TRIGGERED > /ran", "LABEL t=1"],
}


def image(name, layers, config):
    """The archive of an image."""
    ids = [hashlib.sha256(layer).hexdigest() for layer in layers]
    document = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1980-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in ids]},
            "history": [{"created": "1980-01-01T00:00:00Z", "created_by": "base"} for _ in layers],
        }
    ).encode()
    digest = hashlib.sha256(document).hexdigest()
    listed = {"Config": f"{digest}.json", "RepoTags": [f"{name}:latest"], "Layers": [f"{i}.tar" for i in ids]}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        files = {f"{digest}.json": document, "manifest.json": json.dumps([listed]).encode()}
        files |= {f"{i}.tar": layer for i, layer in zip(ids, layers, strict=True)}
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write(busybox, folder):
    """Write the archives of all bases and return their paths by name."""
    bottom = busybox.read_bytes()
    images = {
        "busybox": ([bottom], {"Env": [PATH], "Cmd": ["sh"]}),
        "odd": ([bottom, archive(ODD)], {"Env": [PATH], "Cmd": ["sh"]}),
        "configured": ([bottom, archive(ODD)], CONFIGURED),
        "onbuild": ([bottom], ONBUILD),
        "bare": ([bottom], {}),
    }
    paths = {}
    for name, (layers, config) in images.items():
        paths[name] = folder / f"{name}.tar"
        paths[name].write_bytes(image(name, layers, config))
    return paths
