"""`--explain`: why a step runs."""

import pytest

TEXT = "FROM scratch\nARG A=1\nCOPY . /src/\nWORKDIR /w\nCOPY d/x /x\n"


def reasons(pybuild, context, *flags):
    """What was said of each step that ran."""
    told = pybuild.build(context, "--explain", *flags).stderr
    lines = (line.removeprefix("info: ").split(" runs: ") for line in told.splitlines() if " runs: " in line)
    return {title.partition("] ")[2]: why for title, why in lines}


@pytest.fixture
def context(tmp_path):
    """A folder with a few files."""
    (tmp_path / "c" / "d").mkdir(parents=True)
    for name, content in {"Dockerfile": TEXT, ".dockerignore": "Dockerfile\n", "a": "1", "d/x": "1"}.items():
        (tmp_path / "c" / name).write_text(content)
        (tmp_path / "c" / name).chmod(0o644)
    return tmp_path / "c"


def test_files(pybuild, context):
    """Each file by name, with what is different about it; steps that follow say which one they follow."""
    first = reasons(pybuild, context)
    assert first["COPY . /src/"] == "no such step was built before"
    assert reasons(pybuild, context) == {}
    (context / "a").write_text("2")
    (context / "new").write_text("")
    (context / "new").chmod(0o644)
    (context / "d" / "x").chmod(0o755)
    again = reasons(pybuild, context)
    assert again == {
        "COPY . /src/": "in .: a changed; in .: d/x has another mode; in .: new is new",
        "WORKDIR /w": "[1/3] COPY . /src/ in front of it changed",
        "COPY d/x /x": "[2/3] WORKDIR /w in front of it changed; in d/x: d/x has another mode",
    }
    (context / "new").unlink()
    assert reasons(pybuild, context)["COPY . /src/"] == "in .: new is gone"


def test_what_is_not_in_the_store_any_more(pybuild, context):
    """A record whose layer is gone is told from one that never was; and what was asked for, too."""
    pybuild.build(context)
    assert set(reasons(pybuild, context, "--no-cache").values()) == {"it was asked to (--no-cache)"}
    for blob in (pybuild.root / "blobs" / "sha256").iterdir():
        blob.unlink()
    assert reasons(pybuild, context)["COPY . /src/"] == (
        "it was built before, but its result is not in the store any more"
    )


@pytest.mark.userns
def test_commands(busybox, context):
    """Variables by name, never by value; the base; the command; another stage."""
    text = (
        "FROM {base} AS one\nARG TOKEN\nARG B=1\nRUN {command} > /out\nFROM scratch\nCOPY --from=one /out /\n"
    )

    def write(base="busybox", command="echo 1"):
        (context / "Dockerfile").write_text(text.format(base=base, command=command))

    write()
    busybox.build(context, "--build-arg", "TOKEN=hunter2")
    told = reasons(busybox, context, "--build-arg", "TOKEN=hunter3")
    assert told["RUN echo 1 > /out"] == "variable TOKEN has another value"
    assert "hunter" not in str(told)
    write(command="echo 2")
    told = reasons(busybox, context, "--build-arg", "TOKEN=hunter3")
    assert told["RUN echo 2 > /out"] == "the command changed"
    assert told["COPY --from=one /out /"].startswith("[one 2/2] RUN echo 2 > /out, which it uses, changed")
