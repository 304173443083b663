"""COPY, ADD and WORKDIR."""

import pytest

from builder.errors import InvalidContext, InvalidOption, MissingSource
from builder.lowering.files import absolute, clean
from builder.ops import ContextSource, CopyFiles, InlineSource, MakeDir, StepSource, UnfetchedSource


def test_copy_selects_from_the_context(plans):
    """A source of the context should become the digest of what it selects."""
    plans.tree({"f": "1", "d/x": "2"})
    op = plans.op("FROM scratch\nCOPY --chown=a:b --chmod=640 f ./d/ /to/\n")
    assert isinstance(op, CopyFiles)
    assert [source.pattern for source in op.sources] == ["f", "d"]
    assert all(isinstance(source, ContextSource) for source in op.sources)
    assert (op.dest, op.owner, op.mode, op.unpack) == ("/to/", "a:b", "640", False)


@pytest.mark.parametrize(
    ("workdir", "dest", "expected"),
    [
        ("/", "x", "/x"),
        ("/a", "x", "/a/x"),
        ("/a", ".", "/a/"),
        ("/a", "./", "/a/"),
        ("/a", "..", "/"),
        ("/a/b", "..", "/a"),
        ("/a", "../../../etc/", "/etc/"),
        ("/a", "/x//y/./z/", "/x/y/z/"),
        ("/a", "/x/.", "/x/"),
        ("/a", "/", "/"),
        ("/a", "x/..", "/a"),
        ("/a", "x/../", "/a/"),
        ("/a", "", "/a/"),
    ],
)
def test_destinations_become_absolute(workdir, dest, expected):
    """Destinations should be joined to WORKDIR and cleaned, and keep what says "directory"."""
    assert absolute(dest, workdir) == expected


def test_clean_paths():
    """Two leading slashes should not survive, which POSIX would allow."""
    assert clean("//a//b/../c/") == "/a/c"


def test_variables_are_expanded_everywhere_but_in_from(plans):
    """Sources, destination, owner and mode should be expanded, exclusions are patterns as they stand."""
    plans.tree({"f": "1", "d/x": "2"})
    text = "FROM scratch\nENV F=f D=d O=me M=600\nCOPY --chown=$O --chmod=$M --exclude=$F $F $D /$D/\n"
    op = plans.op(text)
    assert [source.pattern for source in op.sources] == ["f", "d"]
    assert (op.dest, op.owner, op.mode, op.exclude) == ("/d/", "me", "600", ("$F",))
    assert plans.history(text)[-1] == "COPY --chown=me --chmod=600 f d /d/ # buildkit"
    with pytest.raises(InvalidOption, match="variable expansion is not supported for --from"):
        plans("FROM scratch AS s\nFROM scratch\nARG S=s\nCOPY --from=$S /a /b\n")


def test_a_value_in_the_path_is_part_of_the_key(plans):
    """COPY $X should be another step for another value with other content."""
    plans.tree({"f": "1", "g": "2"})
    text = "FROM scratch\nARG X=f\nCOPY $X /o\n"
    one, two = plans(text), plans(text, build_args={"X": "g"})
    assert one.targets[0].head != two.targets[0].head


def test_missing_sources_are_explained(plans):
    """A missing source should name the path, the context and something near it, at its line."""
    plans.tree({"requirements.txt": "", "src/Main.py": ""})
    with pytest.raises(MissingSource, match=r"requirement\.txt is not in the build context") as caught:
        plans("FROM scratch\nCOPY requirement.txt /\n")
    assert caught.value.span.start_line == 2
    assert caught.value.hint == "did you mean requirements.txt?"
    with pytest.raises(MissingSource) as caught:
        plans("FROM scratch\nCOPY src/main.py /\n")
    assert caught.value.hint == "did you mean src/Main.py?"
    with pytest.raises(MissingSource) as caught:
        plans("FROM scratch\nCOPY srcs/Main.py /\n")
    assert caught.value.hint == "did you mean src/Main.py?"


def test_a_source_that_is_ignored_names_the_rule(plans):
    """When an ignore line hides the source, the error should say which."""
    plans.tree({"secret.env": "x", ".dockerignore": "# comment\n*.md\n\n*.env\n"})
    with pytest.raises(MissingSource) as caught:
        plans("FROM scratch\nCOPY secret.env /\n")
    assert caught.value.hint == "it exists, but is excluded by line 4 of .dockerignore (*.env)"


def test_a_wildcard_may_match_nothing(plans):
    """A pattern without a match should be no error."""
    plans.tree({"f": ""})
    assert plans.op("FROM scratch\nCOPY *.nothing /o/\n").dest == "/o/"


def test_paths_stay_in_the_context(plans):
    """`..` should stop at the context root."""
    plans.tree({"f": "1"})
    plain = plans("FROM scratch\nCOPY f /f\n").targets[0].head
    assert plans("FROM scratch\nCOPY ../../f /f\n").targets[0].head == plain
    assert plans("FROM scratch\nCOPY /f /f\n").targets[0].head == plain


def test_copy_without_a_context(plans):
    """A COPY in a build without context should say what is missing."""
    with pytest.raises(InvalidContext, match="COPY needs a build context"):
        plans("FROM scratch\nCOPY f /\n", context=False)
    plans("FROM scratch\nCOPY <<F /\nx\nF\n", context=False)


def test_copy_from_a_stage(plans):
    """A source in another stage should be a path from its root, whatever its WORKDIR."""
    text = "FROM alpine AS One\nWORKDIR /w\nFROM scratch\nCOPY --from=oNE a b/* ../c /\nCOPY --from=0 x /\n"
    first = plans(text).targets[0].head.inputs[0].op
    assert first.sources == (StepSource(1, "/a"), StepSource(1, "/b/*"), StepSource(1, "/c"))
    assert isinstance(plans(text).targets[0].head.inputs[1].op, MakeDir)


def test_copy_from_an_image(plans):
    """A name that is no stage should be an image, and `scratch` nothing."""
    graph = plans("FROM scratch\nCOPY --from=app /bin/x /\n")
    assert len(graph.targets[0].head.inputs[1].op.layers) == 2
    graph = plans("FROM alpine\nCOPY --from=scratch / /\n")
    assert type(graph.targets[0].head.inputs[1].op).__name__ == "Scratch"


def test_heredocs_are_expanded_unless_quoted(plans):
    """A heredoc should be a file of its name; quotes stay, variables are replaced, `<<-` drops tabs."""
    text = "FROM scratch\nENV V=v\nCOPY <<A <<-\"B\" <<-C /o/\n'$V' \\$V\nA\n\t$V\nB\n\t\t${V}x\nC\n"
    sources = plans.op(text).sources
    assert sources == (
        InlineSource("A", b"'v' $V\n"),
        InlineSource("B", b"$V\n"),
        InlineSource("C", b"vx\n"),
    )
    assert plans.history(text)[-1] == "COPY <<A <<B <<C /o/ # buildkit"


def test_crlf_in_heredocs_is_kept(plans):
    """Line ends inside a heredoc should be copied as they are."""
    assert plans.op(b"FROM scratch\r\nCOPY <<A /o\r\none\r\nA\r\n").sources[0].content == b"one\r\n"


@pytest.mark.parametrize("mode", ["0", "755", "7777", "u=rwX,go=rX", "a+x", "+x", "g=u"])
def test_modes(plans, mode):
    """Octal and symbolic modes should be passed on."""
    plans.tree({"f": ""})
    assert plans.op(f"FROM scratch\nCOPY --chmod={mode} f /\n").mode == mode


@pytest.mark.parametrize("mode", ["77777", "8", "abc", "u=q", "10000", "0x1f"])
def test_wrong_modes(plans, mode):
    """What is no mode should be an error at its line."""
    plans.tree({"f": ""})
    with pytest.raises(InvalidOption, match="invalid chmod parameter") as caught:
        plans(f"FROM scratch\nCOPY --chmod={mode} f /\n")
    assert caught.value.span.start_line == 2


def test_flags_reach_the_op(plans):
    """--link, --parents and --exclude should be parameters of the step; a mode takes --link away."""
    plans.tree({"a/b/f": "1", "a/b/g": "2"})
    op = plans.op("FROM scratch\nCOPY --link --parents --exclude=g ./a/./b /o/\n")
    assert (op.link, op.parents, op.exclude) == (True, True, ("g",))
    assert not plans.op("FROM scratch\nCOPY --link --chmod=700 a /o/\n").link
    assert op.sources[0].pattern == "a/./b"
    text = "FROM scratch\nCOPY --parents a/b/f /o/\n"
    assert plans.history(text)[-1] == "COPY --parents a/b/f /o/ # buildkit"
    op = plans.op("FROM scratch AS s\nFROM scratch\nCOPY --from=s --parents /x/../a/./b /o/\n")
    assert op.sources == (StepSource(1, "/a/./b"),)


def test_add_unpacks_unless_told_not_to(plans):
    """ADD should let archives be unpacked by default."""
    plans.tree({"a.tar": ""})
    assert plans.op("FROM scratch\nADD a.tar /\n").unpack
    assert plans.op("FROM scratch\nADD --unpack a.tar /\n").unpack
    assert not plans.op("FROM scratch\nADD --unpack=false a.tar /\n").unpack
    assert plans.history("FROM scratch\nADD a.tar /o\n")[-1] == "ADD a.tar /o # buildkit"


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("COPY https://example.com/f /", InvalidOption, "source can't be a URL for COPY"),
        ("COPY git://example.com/r /", InvalidOption, "source can't be a git ref for COPY"),
        ("ADD --checksum=sha256:00 f /", InvalidOption, "--checksum requires"),
        ("ADD --keep-git-dir f /", InvalidOption, "--keep-git-dir requires"),
    ],
)
def test_what_is_not_supported_says_so(plans, line, error, message):
    """A source or flag without effect should be an error that names it and its line."""
    plans.tree({"f": ""})
    with pytest.raises(error, match=message) as caught:
        plans(f"FROM scratch\nENV A=1\n{line}\n")
    assert caught.value.span.start_line == 3
    assert caught.value.hint is not None or "requires" in message


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://u:p@example.com/f", "https://example.com/f"),
        ("https://example.com/r.git#v1", "https://example.com/r.git#v1"),
        ("git@example.com:r.git", "git@example.com:r.git"),
    ],
)
def test_what_a_plan_does_not_fetch(plans, source, shown):
    """A plan that may not fetch should say what would be fetched, without credentials."""
    assert plans.op(f"FROM scratch\nADD {source} /\n").sources == (UnfetchedSource(shown),)


def test_workdir(plans):
    """WORKDIR should be relative to the one before, clean, and owned by USER; it is a step."""
    text = "FROM alpine\nUSER app\nWORKDIR /a//b/\nWORKDIR ../c/./d/\n"
    head = plans(text).targets[0].head
    assert (head.op.path, head.op.owner) == ("/a/c/d", "app")
    assert (head.inputs[0].op.path, plans.run_config(text).working_dir) == ("/a/b", "/a/c/d")
    assert plans.history(text)[1:] == ["WORKDIR /a/b", "WORKDIR /a/c/d"]
    assert [entry.empty_layer for entry in plans.config(text).history[-2:]] == [False, False]


def test_workdir_of_the_root_is_no_step(plans):
    """WORKDIR / should change the configuration only."""
    text = "FROM app\nWORKDIR /\n"
    assert type(plans.op(text)).__name__ == "BaseImage"
    assert plans.run_config(text).working_dir == "/"
    assert plans.config(text).history[-1].empty_layer


def test_an_unset_variable_in_workdir_is_empty(plans):
    """WORKDIR /path/$unset should be /path."""
    assert plans.run_config("FROM alpine\nWORKDIR /path/$UNSET\n").working_dir == "/path"


def test_workdir_starts_from_that_of_the_base(plans):
    """A relative WORKDIR should start from the image's."""
    assert plans.run_config("FROM app\nWORKDIR x\n").working_dir == "/srv/x"


def test_every_layer_has_a_history_entry(plans):
    """Each step over the base should have one entry that is not empty, so that both always agree."""
    plans.tree({"f": ""})
    text = "FROM app\nCOPY f /\nENV A=1\nWORKDIR /x\nWORKDIR /\nRUN true\nADD f /g\nCOPY <<X /\nX\nCMD x\n"
    graph = plans(text)
    layers = [entry for entry in graph.targets[0].config.history if not entry.empty_layer]
    steps = [step for step in graph.steps() if type(step.op).__name__ != "BaseImage"]
    assert len(layers) == 2 + len(steps) == 7


def test_the_epoch_is_part_of_the_key(plans):
    """Files get the epoch as their time, so another epoch should be another step."""
    text = "FROM scratch\nWORKDIR /x\n"
    assert plans(text).targets[0].head != plans(text, epoch=1).targets[0].head


def test_flags_without_a_value_count_as_not_given(plans):
    """``--from=``, ``--chown=``, ``--chmod=`` and ``--checksum=`` should be as if they were not there."""
    plans.tree({"f": "1"})
    text = "FROM scratch\nCOPY --from= --chown= --chmod= f /o\nADD --checksum= f /p\n"
    assert plans.op(text).sources == plans.op("FROM scratch\nADD f /p\n").sources
    assert plans.history(text) == ["COPY f /o # buildkit", "ADD f /p # buildkit"]
