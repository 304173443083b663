"""COPY as a whole: every kind of source upon every kind of destination, against a model of the rules."""

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Bench, directory, file, symlink

from builder.errors import BuildError
from builder.ops import StepSource
from builder.snapshots import Snapshot

SCRATCH = Snapshot()
BASE = (
    file("old", "old"),
    directory("folder", 0o700, 3, 4),
    file("folder/keep", "keep"),
    file("folder/x", "was"),
    symlink("to-old", "old"),
    symlink("to-folder", "/folder"),
    symlink("dangling", "/new/place"),
)
# Where a destination is when links are followed, and what is there.
DESTINATIONS = {
    "fresh": ("fresh", None),
    "a/b": ("a/b", None),
    "old": ("old", "file"),
    "folder": ("folder", "dir"),
    "to-old": ("old", "file"),
    "to-folder": ("folder", "dir"),
    "dangling": ("new/place", None),
}
TREE = {"x": ("X", 0o644), "sub": ("dir", 0o700), "sub/y": ("Y", 0o644)}
# What a source stands for: a file, or what a directory holds.
SOURCES = {"s-file": "F", "s-tree": TREE, "s-none": {}, "s-link-to-file": "F", "s-link-to-tree": TREE}
CHMOD = {
    "": lambda mode, _: mode,
    "711": lambda *_: 0o711,
    "u=rwX,go=": lambda _, is_dir: 0o700 if is_dir else 0o600,
}


def fill(bench):
    """The sources in a build context, and the same in a stage."""
    root = bench.context_root
    (root / "s-tree" / "sub").mkdir(parents=True)
    (root / "s-none").mkdir()
    texts = {"s-file": "F", "s-tree/x": "X", "s-tree/sub/y": "Y"}
    for path, text in texts.items():
        (root / path).write_text(text)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "s-tree" / "sub").chmod(0o700)
    (root / "s-link-to-file").symlink_to("s-file")
    (root / "s-link-to-tree").symlink_to("/s-tree")
    return bench.base(
        *(directory("s-none"), directory("s-tree"), directory("s-tree/sub", 0o700)),
        *(file(path, text) for path, text in texts.items()),
        symlink("s-link-to-file", "s-file"),
        symlink("s-link-to-tree", "/s-tree"),
    )


def model(before, source, destination, *, slash, link, owner, chmod):
    """What is there after the COPY; None where it has to be refused."""
    real, kind = (destination, None) if link else DESTINATIONS[destination]
    below = {} if link else before
    brought = SOURCES[source]
    if kind == "file" and (slash or isinstance(brought, dict)):
        return None
    suffix = f" {owner}" if owner else ""
    new = {}

    def make(path):
        for end in [i for i, char in enumerate(path) if char == "/"] + [len(path)]:
            if path and not below.get(path[:end], "").startswith("dir"):
                new[path[:end]] = f"dir {0o711 if chmod.isdigit() else 0o755:o}{suffix}"

    def put(path, text, mode):
        new[path] = f"{text} {CHMOD[chmod](mode, text == 'dir'):o}{suffix}"

    if isinstance(brought, dict):
        make(real)
        for name, (text, mode) in brought.items():
            put(f"{real}/{name}", text, mode)
    else:
        make(real if slash else posixpath.dirname(real))
        put(f"{real}/{source}" if slash or kind == "dir" else real, brought, 0o644)
    return merged(before, new)


def merged(before, new):
    """A layer over what is below it."""
    after = dict(before)
    for path, text in new.items():
        if not (text.startswith("dir") and after.get(path, "").startswith("dir")):
            after = {name: old for name, old in after.items() if not f"{name}/".startswith(f"{path}/")}
        after[path] = text
    return after


@settings(max_examples=150, deadline=None)
@given(
    source=st.sampled_from(sorted(SOURCES)),
    destination=st.sampled_from(sorted(DESTINATIONS)),
    slash=st.booleans(),
    is_glob=st.booleans(),
    owner=st.sampled_from(["", "5:6"]),
    chmod=st.sampled_from(sorted(CHMOD)),
    link=st.booleans(),
    from_stage=st.booleans(),
)
def test_every_combination(
    tmp_path_factory, source, destination, slash, is_glob, owner, chmod, link, from_stage
):
    """Kinds of source and destination, slash, wildcard, owner, mode and links should decide as modelled."""
    link = link and not chmod  # which does not go together
    bench = Bench(tmp_path_factory.mktemp("matrix"))
    try:
        stage = fill(bench)
        base = bench.base(*BASE)
        before = bench.listing(base)
        expected = model(before, source, destination, slash=slash, link=link, owner=owner, chmod=chmod)
        pattern = f"{source[:-1]}?" if is_glob else source
        sources = (StepSource(1, f"/{pattern}"),) if from_stage else (pattern,)
        dest = f"/{destination}{'/' * slash}"
        options = {"owner": owner, "mode": chmod, "link": link}
        if expected is None:
            with pytest.raises(BuildError, match="non-directory"):
                bench.copy(base, sources, dest, stage, **options)
            return
        assert bench.listing(bench.copy(base, sources, dest, stage, **options)) == expected
    finally:
        bench.close()


@pytest.mark.parametrize("pattern", ["s-nothing*", "nothing/*"])
def test_no_match(bench, pattern):
    """A wildcard without a match should bring nothing, not even the destination."""
    fill(bench)
    base = bench.base(*BASE)
    assert bench.listing(bench.copy(base, pattern, "/fresh/")) == bench.listing(base)
