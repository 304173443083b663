"""
Which change between two builds makes a step run again, as far as the plan decides it.

A marked RUN ends each Dockerfile; an equal digest of its step is a hit. Rows whose answer depends on what an
earlier step makes (``COPY --from`` of an equal file) are decided when the build runs.
"""

import os

import pytest

from oci_image.platform import Platform

MARK = "RUN mark\n"
HIT, RERUN = True, False


def marked(plans, text, **options):
    """The key of the last step."""
    return plans(text, **options).targets[0].head.digest


def touch(path):
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_nothing_changed(plans):
    """The same inputs should be a hit, also with an empty stat cache."""
    plans.tree({"f": "1", "d/g": "2"})
    text = f"FROM alpine\nCOPY f /f\nCOPY d /o/\n{MARK}"
    before = marked(plans, text)
    assert marked(plans, text) == before
    plans.stats.directory += "-elsewhere"
    assert marked(plans, text) == before


@pytest.mark.parametrize(
    ("lines", "change", "expected"),
    [
        ("COPY f /f", lambda root: touch(root / "f"), HIT),
        ("COPY d /o/", lambda root: touch(root / "d"), HIT),
        ("COPY f /f", lambda root: (root / "f").write_text("changed"), RERUN),
        ("COPY f /f", lambda root: (root / "f").chmod(0o755), RERUN),
        ("COPY d /o/", lambda root: (root / "d").chmod(0o700), RERUN),
        ("COPY . /o", lambda root: (root / "x.ignored").write_text("changed"), HIT),
        ("COPY . /o", lambda root: (root / "new.ignored").write_text("new"), HIT),
        ("COPY f /f", lambda root: (root / "g").write_text("changed"), HIT),
        ("COPY *.t /o", lambda root: (root / "a.t").rename(root / "b.t"), RERUN),
        ("COPY *.t /o/", lambda root: (root / "a.t").rename(root / "b.t"), RERUN),
        ("COPY d /o/", lambda root: (root / "d/y").rename(root / "d/z"), RERUN),
        ("COPY d /o/", lambda root: (root / "d/empty").mkdir(), RERUN),
        ("COPY d /o/", lambda root: ((root / "d/l").unlink(), (root / "d/l").symlink_to("f")), RERUN),
        ("COPY d /o/", lambda root: (root / "d/y").unlink(), RERUN),
        ("COPY d /o/", lambda root: (os.unlink(root / "d/y"), os.link(root / "d/x", root / "d/y")), RERUN),
        ("COPY d /o/", lambda root: os.setxattr(root / "d/y", "user.a", b"1"), RERUN),
        ("COPY d /o/", lambda root: os.setxattr(root / "d", "user.a", b"1"), RERUN),
        (
            "COPY d /o/",
            lambda root: ((root / "d/x").write_text("on"), (root / "d/y").write_text("etwo")),
            RERUN,
        ),
        ("COPY link /f", lambda root: (root / "f").write_text("changed"), RERUN),
        ("RUN --mount=source=d,target=/m x", lambda root: (root / "d/x").write_text("new"), RERUN),
        ("RUN --mount=source=d,target=/m x", lambda root: (root / "f").write_text("new"), HIT),
        ("RUN --mount=source=d,target=/m x", lambda root: touch(root / "d/x"), HIT),
    ],
    ids=[
        *("mtime-file", "mtime-dir", "content", "chmod", "chmod-dir", "ignored-file", "ignored-new"),
        *("other-file", "glob-fixed-dest", "glob-dir-dest", "file-name", "empty-dir", "symlink", "removed"),
        *("hardlink", "xattr", "xattr-dir", "boundary-shift", "linked-content", "bind-content", "bind-other"),
        "bind-mtime",
    ],
)
def test_a_change_of_files(plans, lines, change, expected):
    """A changed file should count when it is selected: with everything but its times and owner."""
    plans.tree({"f": "1", "g": "2", "a.t": "t", "x.ignored": "i", ".dockerignore": "*.ignored\n"})
    plans.tree({"d/x": "one", "d/y": "two", "d/l": ("->", "x"), "link": ("->", "f")})
    text = f"FROM alpine\n{lines}\n{MARK}"
    before = marked(plans, text)
    change(plans.root)
    assert (marked(plans, text) == before) is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_a_file_does_not_count(plans):
    """Files of the context should belong to root whoever owns them."""
    plans.tree({"f": "1"})
    text = f"FROM alpine\nCOPY f /f\n{MARK}"
    before = marked(plans, text)
    os.chown(plans.root / "f", 1234, 1234)
    assert marked(plans, text) == before


def test_content_changed_back(plans):
    """The old content should be the old key."""
    plans.tree({"f": "1"})
    text = f"FROM alpine\nCOPY f /f\n{MARK}"
    before = marked(plans, text)
    plans.tree({"f": "2"})
    assert marked(plans, text) != before
    plans.tree({"f": "1"})
    assert marked(plans, text) == before


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("RUN x", "# comment\n\nRUN x\n\n#", HIT),
        ("ENV A=1", "ENV A=2", RERUN),
        ("USER a", "USER b", RERUN),
        ("COPY f /f", "COPY f /g", RERUN),
        ("LABEL a=1", "LABEL a=2", HIT),
        ("CMD a", "CMD b", HIT),
        ("EXPOSE 1", "EXPOSE 2", HIT),
        ("HEALTHCHECK NONE", "HEALTHCHECK CMD x", HIT),
        ("ENTRYPOINT a", "ENTRYPOINT b", HIT),
        ("STOPSIGNAL 1", "STOPSIGNAL 2", HIT),
        ("VOLUME /a", "VOLUME /b", HIT),
        ("MAINTAINER a", "MAINTAINER b", HIT),
        ("ONBUILD RUN a", "ONBUILD RUN b", HIT),
        ("WORKDIR /a", "WORKDIR /b", RERUN),
        ('SHELL ["/a"]', 'SHELL ["/b"]', RERUN),
        ("RUN x", "RUN    x", HIT),
        ("RUN a b", "RUN a  b", RERUN),
        ("COPY <<A /o\none\nA", "COPY <<A /o\ntwo\nA", RERUN),
        ("COPY <<A <<B /o/\n1\n2\nA\n3\nB", "COPY <<A <<B /o/\n1\nA\n2\n3\nB", RERUN),
        ("RUN --mount=type=secret,id=a,target=/s x", "RUN --mount=type=secret,id=b,target=/s x", HIT),
        ("RUN --mount=type=cache,id=a,target=/s x", "RUN --mount=type=cache,id=b,target=/s x", HIT),
        ("RUN --mount=type=cache,target=/s x", "RUN --mount=type=tmpfs,target=/s x", RERUN),
        ("RUN --network=none x", "RUN x", RERUN),
        ('RUN ["a", "b c"]', 'RUN ["a b", "c"]', RERUN),
        ("COPY --chown=a f /f", "COPY --chown=b f /f", RERUN),
        ("COPY --chmod=600 f /f", "COPY --chmod=644 f /f", RERUN),
        ("ADD f /f", "ADD --unpack=false f /f", RERUN),
    ],
)
def test_a_change_of_instructions(plans, first, second, expected):
    """What changes the file system or the command should count, metadata and writing should not."""
    plans.tree({"f": "1"})
    before = marked(plans, f"FROM alpine\n{first}\n{MARK}")
    assert (marked(plans, f"FROM alpine\n{second}\n{MARK}") == before) is expected


@pytest.mark.parametrize(
    ("lines", "arguments", "expected"),
    [
        (f"ARG A\n{MARK}", {"A": "2"}, RERUN),
        (f"{MARK}ARG A\n", {"A": "2"}, HIT),
        (f"ARG A\nENV A=constant\n{MARK}", {"A": "2"}, HIT),
        (MARK, {"A": "2"}, HIT),
        (MARK, {"HTTP_PROXY": "2"}, HIT),
        (f"ARG HTTP_PROXY\n{MARK}", {"HTTP_PROXY": "2"}, RERUN),
        (f"ARG A\nCOPY $A /o\n{MARK}", {"A": "g"}, RERUN),
        (f"ARG A\nWORKDIR /w/$A\nENV A=x\n{MARK}", {"A": "2"}, RERUN),
    ],
    ids=[
        *("arg-above", "arg-below", "arg-shadowed", "arg-undeclared", "proxy-undeclared", "proxy-declared"),
        *("copy-variable", "workdir-variable"),
    ],
)
def test_a_change_of_arguments(plans, lines, arguments, expected):
    """An argument should count from its ARG on, unless ENV hides it."""
    plans.tree({"f": "1", "g": "2"})
    text = f"FROM alpine\n{lines}"
    before = marked(plans, text, build_args=dict.fromkeys(arguments, "f"))
    assert (marked(plans, text, build_args=arguments) == before) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("FROM alpine AS unused\nRUN 1\nFROM alpine\n", "FROM alpine AS unused\nRUN 2\nFROM alpine\n", HIT),
        ("FROM alpine AS a\n", "FROM alpine AS b\n", HIT),
        ("FROM alpine AS a\nFROM a\n", "FROM alpine\n", HIT),
        ("FROM alpine\n", "FROM bare\n", RERUN),
    ],
    ids=["unused-stage", "stage-name", "stage-or-not", "base"],
)
def test_a_change_of_stages(plans, first, second, expected):
    """Only what the target is made of should count, not how it is called."""
    assert (marked(plans, first + MARK) == marked(plans, second + MARK)) is expected


def test_another_platform(plans):
    """The platform should count."""
    text = f"FROM scratch\n{MARK}"
    platforms = (Platform(os="linux", architecture=name) for name in ("amd64", "arm64"))
    first, second = (marked(plans, text, platform=platform) for platform in platforms)
    assert first != second


def test_an_image_that_is_stored_otherwise(plans):
    """The same layers, compressed or renamed, should be the same base."""
    plans.resolver.images["docker.io/library/other:latest"] = plans.image_of(
        "alpine", env=("PATH=/usr/bin:/bin",)
    )
    assert marked(plans, f"FROM alpine\n{MARK}") == marked(plans, f"FROM other\n{MARK}")
