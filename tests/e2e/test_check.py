"""Checks, outlines, targets and warnings, from the command line."""

import json

import pytest

DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=1
# base is what all need
FROM scratch AS base
ARG VERSION
ENV a b
FROM base as app
COPY f /f
CMD run
FROM base
COPY f /f
"""
RULES = ["LegacyKeyValueFormat", "FromAsCasing", "JSONArgsRecommended"]


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "f").write_text("content\n")
    return folder


def rules(done):
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("WARNING: ")]


def test_check(pybuild, context):
    """--check looks at all stages, at those of a target with one, and builds nothing."""
    done = pybuild("--check", context, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert rules(done) == RULES
    assert done.stdout.startswith("Check complete, 3 warnings have been found!\n")
    assert "\nDockerfile:9\n" in done.stdout

    done = pybuild("--check", "--target", "base", context, check=False)
    assert rules(done) == ["LegacyKeyValueFormat", "FromAsCasing"]
    assert pybuild("images", "-q").stdout == ""


def test_check_of_a_good_file(pybuild, context):
    """Nothing found is status 0; so are findings that are to be ignored, by argument or option."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY f /\n")
    assert pybuild("--check", context).stdout == "Check complete, no warnings found.\n"
    (context / "Dockerfile").write_text(DOCKERFILE)
    skip = "BUILDKIT_DOCKERFILE_CHECK=skip=all"
    assert "no warnings" in pybuild("--check", "--build-arg", skip, context).stdout
    assert "3 warnings" in pybuild("--call=check,ignorestatus=true", context).stdout


def test_check_of_a_file_with_mistakes(pybuild, context):
    """The mistake comes after what was found, with its place; in JSON it is part of the answer."""
    (context / "Dockerfile").write_text("FROM scratch\nENV a b\nSTOPSIGNAL nothing\n")
    done = pybuild("--check", context, check=False)
    assert done.returncode == 1
    assert rules(done) == ["LegacyKeyValueFormat"]
    assert "   3 | >>> STOPSIGNAL nothing" in done.stderr

    done = pybuild("--call=check,format=json", context, check=False)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["buildError"]["location"]["ranges"][0]["start"]["line"] == 3
    assert [one["ruleName"] for one in answer["warnings"]] == ["LegacyKeyValueFormat"]


def test_findings_as_errors(pybuild, context):
    """With error=true neither a build nor a check succeeds."""
    (context / "Dockerfile").write_text("# check=error=true\n" + DOCKERFILE.replace("# syntax", "#syntax"))
    for arguments in (["--check"], ["--progress", "plain", "-t", "x"], ["--call=check,ignorestatus=true"]):
        done = pybuild(*arguments, context, check=False)
        assert done.returncode == 1, arguments
        assert "error: lint violation found for rules: FromAsCasing, " in done.stderr
    assert pybuild("images", "-q").stdout == ""


def test_outline(pybuild, context):
    """--call=outline lists what a target takes."""
    done = pybuild("--call", "outline", "--target", "base", "--build-arg", "VERSION=2", context)
    assert done.stdout.splitlines()[:2] == ["TARGET:      base", "DESCRIPTION: is what all need"]
    assert done.stdout.splitlines()[4].split() == ["VERSION", "2"]
    answer = json.loads(pybuild("--call=outline,format=json", context).stdout)
    assert answer["args"][0]["name"] == "VERSION"


def test_targets(pybuild, context):
    """--call=targets lists the stages."""
    lines = pybuild("--call=targets", context).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TARGET", "base", "app", "(default)"]
    answer = json.loads(pybuild("--call=targets,format=json", context).stdout)
    assert [one.get("default", False) for one in answer["targets"]] == [False, False, True]


def test_plan(pybuild, context):
    """--plan prints the steps and what was found; as JSON with --progress json."""
    done = pybuild("--plan", "--target", "app", context)
    assert "COPY f /f" in done.stdout
    assert "warning: JSONArgsRecommended: " in done.stdout
    answer = json.loads(pybuild("--plan", "--progress", "json", context).stdout)
    assert [step["op"] for step in answer["steps"]] == ["Scratch", "CopyFiles"]
    assert pybuild("images", "-q").stdout == ""


def test_what_stands_in_for_names(pybuild, context, tmp_path):
    """--build-context counts for checks, outlines and plans as for builds."""
    (context / "Dockerfile").write_text("FROM nowhere.invalid/x\nARG A=1\nCOPY --from=other f /f\n")
    named = ["--build-context", f"nowhere.invalid/x={tmp_path}", "--build-context", f"other={context}"]
    assert "no warnings" in pybuild("--check", *named, context).stdout
    assert "load build context other" in pybuild("--plan", *named, context).stdout
    assert "A           1" in pybuild("--call=outline", *named, context).stdout


def test_calls_touch_no_files(pybuild, context, tmp_path):
    """What a build would write stays as it is."""
    (tmp_path / "iid").write_text("before")
    for call in ("--plan", "--call=targets", "--call=check,ignorestatus=1"):
        pybuild(call, "--iidfile", tmp_path / "iid", context)
    assert (tmp_path / "iid").read_text() == "before"


def test_an_unknown_call(pybuild, context):
    """The methods that there are get named."""
    done = pybuild("--call=nothing", context, check=False)
    assert done.returncode == 1
    assert "build, check, outline, targets" in done.stderr


def test_warnings_of_a_build(pybuild, context):
    """A build shows what was found in its stages, the same when it is answered from a record."""
    seen = [pybuild.build(context, "-t", "app", "--target", "app").stderr for _ in range(3)]
    for err in seen:
        shown = [line for line in err.splitlines() if line.startswith("WARN: ")]
        assert [line.split(":")[1].strip() for line in shown] == RULES
        assert shown[1] == "WARN: FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 7)"
        assert err.endswith("\n3 warnings found (use --check to expand)\n")
    assert pybuild("-q", "--target", "app", context).stderr == ""
    events = pybuild("--progress", "json", "--target", "app", context).stderr.splitlines()
    notices = [event for event in map(json.loads, events) if event["event"] == "notice"]
    assert [one["text"].partition(":")[0] for one in notices] == RULES


def test_warnings_of_a_build_that_fails(pybuild, context):
    """Warnings come before the error, which they may explain."""
    (context / ".dockerignore").write_text("f\n")
    done = pybuild.build(context, check=False)
    assert done.returncode == 1
    warning = 'WARN: CopyIgnoredFile: Attempting to Copy file "f" that is excluded by .dockerignore (line 11)'
    assert warning in done.stderr
    assert done.stderr.index(warning) < done.stderr.index("error: ")


def test_warnings_before_an_instruction_that_is_none(pybuild, context):
    """What stands in front of a mistake is checked, too, by builds and by checks."""
    (context / "Dockerfile").write_text("FROM scratch AS Bad\nMAINTAINER me\nRNU x\nMAINTAINER me\n")
    done = pybuild("--check", context, check=False)
    assert (done.returncode, rules(done)) == (1, ["StageNameCasing", "MaintainerDeprecated"])
    assert "unknown instruction: RNU" in done.stderr
    done = pybuild("--call=check,format=json", context, check=False)
    message = json.loads(done.stdout)["buildError"]["message"]
    assert message == "unknown instruction: RNU (did you mean RUN?)"
    done = pybuild.build(context, check=False)
    assert "WARN: StageNameCasing: " in done.stderr
    assert done.returncode == 1

    (context / "Dockerfile").write_text("RNU x\n")
    done = pybuild("--check", context, check=False)
    assert (done.returncode, done.stdout) == (1, "")
