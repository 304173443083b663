"""
Which change between two builds of a Dockerfile makes a step run again: BuildKit's answers, one case each.

The marked step prints a random word: a new word in the second build means that it ran. Whatever is a hit
gives the same image again.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.support import Pybuild, make_base

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]

MARK = 'RUN m=$(head -c 8 /proc/sys/kernel/random/uuid); echo "@@$m@@"\n'
TABLE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "cache-matrix.md"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One change: the lines around the marked step, the files, and what happens between the builds."""

    above: str = "COPY f /f\n"
    below: str = ""
    head: str = ""
    mark: str = MARK
    files: dict[str, str] = field(default_factory=lambda: {"f": "one\n"})
    change: Callable[[Path], object] = lambda _: None
    edit: tuple[str, str] = ("", "")
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    rerun: bool = False
    same_image: bool = True


def write(name: str, text: str) -> Callable[[Path], object]:
    """A change: the content of a file."""
    return lambda folder: (folder / name).write_text(text)


def times(name: str) -> Callable[[Path], object]:
    """A change: the mtime of a file."""
    return lambda folder: os.utime(folder / name, (12345, 12345))


def rename(old: str, new: str) -> Callable[[Path], object]:
    """A change: a name."""
    return lambda folder: (folder / old).rename(folder / new)


def link(folder: Path) -> None:
    """A symbolic link with another target."""
    (folder / "d" / "l").unlink()
    (folder / "d" / "l").symlink_to("b")


def linked(files: dict[str, str]) -> dict[str, str]:
    """Files whose value begins with -> are symbolic links."""
    return {"d/l": "->a", **files}


def shifted(folder: Path) -> None:
    """Bytes move from the end of one file to the start of the next."""
    (folder / "a").write_text("on")
    (folder / "b").write_text("etwo")


def there_and_back(folder: Path) -> None:
    """Content that is changed, built, and changed back: `back` builds in between."""
    (folder / "f").write_text("one\n")


DIRECTORY = {"d/a": "a", "d/b": "b"}
COPY_D = "COPY d /o/\n"
FROM_STAGE = "COPY --from=maker /r /r\n"
MAKER = "FROM base AS maker\nENV NONCE={nonce}\n"
BOUND = MARK.replace("RUN ", "RUN --mount=type=bind,source=d,target=/m ")


def metadata(one: str, two: str) -> Row:
    """A row about a line above that is no input of RUN: a hit, with another configuration."""
    return Row(above=f"{one}\n", edit=(one, two), same_image=False)


ROWS = {
    "no-change": Row(),
    "mtime-file": Row(change=times("f")),
    "mtime-dir": Row(above=COPY_D, files=DIRECTORY, change=times("d")),
    "comments": Row(edit=("COPY f /f\n", "# a comment\n\nCOPY f /f\n\n# another\n")),
    "content": Row(change=write("f", "two\n"), rerun=True),
    "chmod": Row(change=lambda folder: (folder / "f").chmod(0o755), rerun=True),
    "env": Row(above="ENV A=1\n", edit=("A=1", "A=2"), rerun=True),
    "user": Row(above="USER daemon\n", edit=("daemon", "nobody"), rerun=True),
    "copy-dest": Row(edit=("COPY f /f", "COPY f /g"), rerun=True),
    "ignored-file": Row(
        above="COPY . /o\n",
        files={"f": "one", "x.log": "1", ".dockerignore": "*.log\nDockerfile\n"},
        change=write("x.log", "2"),
    ),
    "other-file": Row(files={"f": "one", "g": "1"}, change=write("g", "2")),
    "glob-fixed-dest": Row(
        above="COPY *.t /o\n", files={"a.t": "same"}, change=rename("a.t", "b.t"), rerun=True
    ),
    "glob-dir-dest": Row(
        above="COPY *.t /o/\n", files={"a.t": "same"}, change=rename("a.t", "b.t"), rerun=True
    ),
    "arg-above": Row(above="ARG V=0\n", before=("V=1",), after=("V=2",), rerun=True),
    "arg-below": Row(above="", below="ARG V=0\n", before=("V=1",), after=("V=2",), same_image=False),
    "arg-shadowed": Row(above="ARG V=0\nENV V=constant\n", before=("V=1",), after=("V=2",), same_image=False),
    "arg-undeclared": Row(above="", before=("V=1",), after=("V=2",)),
    "proxy-undeclared": Row(above="", before=("HTTP_PROXY=http://a",), after=("HTTP_PROXY=http://b",)),
    "proxy-declared": Row(
        above="ARG HTTP_PROXY\n",
        before=("HTTP_PROXY=http://a",),
        after=("HTTP_PROXY=http://b",),
        rerun=True,
    ),
    "label": metadata("LABEL a=1", "LABEL a=2"),
    "cmd": metadata('CMD ["a"]', 'CMD ["b"]'),
    "expose": metadata("EXPOSE 80", "EXPOSE 81"),
    "run-blanks": Row(edit=("RUN m=", "RUN    m=")),
    "unused-stage": Row(head="FROM base AS unused\nRUN echo 1\n", edit=("echo 1", "echo 2")),
    "stage-name": Row(edit=("FROM base AS last", "FROM base AS final")),
    "copy-from-same": Row(
        head=MAKER + "RUN echo x > /r\n", above=FROM_STAGE, edit=("RUN echo x", "RUN true; echo x")
    ),
    "copy-from-mtime": Row(
        head=MAKER + "RUN echo x > /r; touch -d '2001-01-01 00:00:00' /r\n",
        above=FROM_STAGE,
        edit=("2001", "2002"),
    ),
    "bind-content": Row(above="", mark=BOUND, files=DIRECTORY, change=write("d/a", "other"), rerun=True),
    "bind-other": Row(above="", mark=BOUND, files={**DIRECTORY, "g": "1"}, change=write("g", "2")),
    "bind-mtime": Row(above="", mark=BOUND, files=DIRECTORY, change=times("d/a")),
    "secret": Row(
        above="",
        mark=MARK.replace(
            "RUN ", "RUN --mount=type=secret,id=word,required=true cat /run/secrets/word > /dev/null; "
        ),
        before=("--secret=id=word,src=one",),
        after=("--secret=id=word,src=two",),
        files={"one": "1", "two": "2"},
    ),
    "add-host": Row(above="", before=("--add-host=other:10.0.0.1",), after=("--add-host=other:10.0.0.2",)),
    "platform": Row(above="", before=("--platform=here",), after=("--platform=variant",), rerun=True),
    "no-cache": Row(after=("--no-cache",), rerun=True),
    "workdir": Row(above="WORKDIR /a\n", edit=("/a", "/b"), rerun=True),
    "shell": Row(
        above='SHELL ["/bin/sh", "-c"]\n', edit=('["/bin/sh", "-c"]', '["/bin/sh", "-ec"]'), rerun=True
    ),
    "healthcheck": metadata("HEALTHCHECK CMD true", "HEALTHCHECK CMD false"),
    "entrypoint": metadata('ENTRYPOINT ["a"]', 'ENTRYPOINT ["b"]'),
    "stopsignal": metadata("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT"),
    "volume": metadata("VOLUME /a", "VOLUME /b"),
    "file-name": Row(above=COPY_D, files=DIRECTORY, change=rename("d/a", "d/c"), rerun=True),
    "empty-dir": Row(
        above=COPY_D, files=DIRECTORY, change=lambda folder: (folder / "d" / "e").mkdir(), rerun=True
    ),
    "symlink": Row(above=COPY_D, files=linked(DIRECTORY), change=link, rerun=True),
    "owner": Row(change=lambda folder: os.chown(folder / "f", 1234, 1234)),
    "copy-variable": Row(
        above="ARG X\nCOPY $X /o\n",
        files={"one": "1", "two": "2"},
        before=("X=one",),
        after=("X=two",),
        rerun=True,
    ),
    "heredoc-body": Row(above="COPY <<A /o\none\nA\n", edit=("one", "two"), rerun=True),
    "heredoc-shift": Row(
        above="COPY <<A <<B /o/\none\ntwo\nA\nthree\nB\n",
        edit=("one\ntwo\nA\nthree", "one\nA\ntwo\nthree"),
        rerun=True,
    ),
    "boundary-shift": Row(above="COPY a b /o/\n", files={"a": "one", "b": "two"}, change=shifted, rerun=True),
    "copy-from-changed": Row(
        head=MAKER + "RUN echo x > /r\n", above=FROM_STAGE, edit=("echo x", "echo y"), rerun=True
    ),
    "copy-from-other": Row(
        head=MAKER + "RUN echo x > /r; echo 1 > /other\n", above=FROM_STAGE, edit=("echo 1", "echo 2")
    ),
    "back-again": Row(change=there_and_back),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory, archives):
    """One store for all rows: every row has a random word of its own in its environment."""
    pybuild = Pybuild(tmp_path_factory.mktemp("matrix") / "store")
    make_base("busybox", pybuild, archives, "base:latest")
    return pybuild


@pytest.mark.parametrize("name", ROWS)
def test_row(store, tmp_path, name):
    """The marked step runs again, or does not, as the table says; a hit gives the same filesystem."""
    row = ROWS[name]
    folder = tmp_path / "context"
    for path, text in row.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            (folder / path).symlink_to(text[2:])
        else:
            (folder / path).write_text(text)
    folder.mkdir(exist_ok=True)
    nonce = secrets.token_hex(8)
    last = f"FROM base AS last\nENV NONCE={nonce}\n"
    text = row.head.replace("{nonce}", nonce) + last + row.above + row.mark + row.below
    (folder / "Dockerfile").write_text(text)

    first, image = build(store, folder, name, row.before)
    assert first, "the marked step did not run at first"
    if name == "back-again":
        (folder / "f").write_text("in between\n")
        assert build(store, folder, name, ())[0] not in ("", first)
    row.change(folder)
    if row.edit[0]:
        assert row.edit[0] in text
        (folder / "Dockerfile").write_text(text.replace(*row.edit))
    second, again = build(store, folder, name, row.after)

    assert (second not in ("", first)) == row.rerun
    if not row.rerun:
        assert again["RootFS"] == image["RootFS"]
        if row.same_image:
            assert again["Id"] == image["Id"]


def build(store, folder, name, options):
    """Build; the word that the marked step printed, if it ran, and the image."""
    done = store.build(folder, "-t", f"matrix:{name}", *flags(store, options), cwd=folder)
    found = re.findall(r"^#\d+ (?:[\d.]+ )?@@(.+)@@$", done.stderr, re.MULTILINE)
    assert len(found) <= 1
    return (found or [""])[0], store.image(f"matrix:{name}")


def flags(store, options):
    """Options of a row: those with a dash as they are, the others are build arguments."""
    out = []
    for option in options:
        if option.startswith("--platform="):
            image = store.image("base:latest")
            variant = "/v2" if image["Architecture"] == "amd64" else "/v9"
            here = f"{image['Os']}/{image['Architecture']}"
            out += ["--platform", here + (variant if option.endswith("variant") else "")]
        elif option.startswith("--"):
            out.append(option)
        else:
            out += ["--build-arg", option]
    return out


def test_every_row_of_the_table_is_here():
    """Each row of the table is tested, with its own answer."""
    if not TABLE.exists():
        pytest.skip("the table is not here")
    wanted = re.findall(r"^\| \d+ \| `([a-z-]+)` \|.*\| (hit|rerun) \|", TABLE.read_text(), re.MULTILINE)

    assert len(wanted) > 50
    assert {name: word == "rerun" for name, word in wanted} == {name: row.rerun for name, row in ROWS.items()}


def test_an_owner_that_was_named_counts(store, tmp_path):
    """COPY --chown with another owner is another layer, unlike the owner of the file on the host."""
    (tmp_path / "f").write_text("one")
    shutil.copy(tmp_path / "f", tmp_path / "g")
    text = f"FROM base\nENV NONCE={secrets.token_hex(8)}\nCOPY --chown=1:1 f /f\n{MARK}"
    (tmp_path / "Dockerfile").write_text(text)
    first, _ = build(store, tmp_path, "chown", ())
    (tmp_path / "Dockerfile").write_text(text.replace("1:1", "1:2"))
    second, _ = build(store, tmp_path, "chown", ())

    assert second not in ("", first)
