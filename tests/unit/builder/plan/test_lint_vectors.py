"""BuildKit's tables of build checks and outlines, where they lie beside the checkout."""

import asyncio
import json
from pathlib import Path

import pytest

from builder.checks import check
from builder.contexts.context import open_context
from builder.contexts.statcache import StatCache
from builder.errors import BuildError
from builder.loop import drive
from builder.outline import list_targets, outline
from builder.request import BuildRequest
from dockerfile_grammar.parser import parse
from oci_image.platform import Platform

VECTORS = Path(__file__).resolve().parents[5] / "shared" / "vectors" / "dockerfile"
if not VECTORS.is_dir():
    pytest.skip("no test vectors beside this checkout", allow_module_level=True)

AMD64 = Platform(os="linux", architecture="amd64")


def records(name):
    with (VECTORS / f"{name}.jsonl").open(encoding="utf-8", newline="\n") as lines:
        return [pytest.param(case, id=case["id"]) for case in map(json.loads, lines)]


@pytest.fixture
def images(plans):
    """The images that the tables name."""
    for name in ("alpine", "busybox", "busybox:latest", "busybox:stable", "busybox:stable-musl"):
        plans.resolver.images[str(plans.reference(name))] = plans.image_of(name, env=("PATH=/bin",))
    return plans


def as_rows(findings, *, lines):
    rows = [
        {
            "rule": finding.rule.name,
            "line": finding.span.start_line,
            "detail": finding.detail,
            "description": finding.rule.description,
            "url": finding.rule.url,
            "level": 1,
        }
        for finding in findings
    ]
    rows.sort(key=lambda row: (row["line"], row["detail"]))
    if not lines:
        for row in rows:
            del row["line"]
        rows.sort(key=lambda row: row["detail"])
    return rows


@pytest.mark.parametrize("case", records("lint"))
def test_lint(case, images, tmp_path):
    """A check of all stages finds `check_expected`, a build what is `expected`."""
    images.tree({"Dockerfile": case["dockerfile"]})
    if case["dockerignore"] is not None:
        images.tree({".dockerignore": case["dockerignore"]})
    dockerfile = parse(case["dockerfile"])
    request = BuildRequest(
        context=str(images.root), dockerfile=case["dockerfile"].encode(), build_args=case["build_args"]
    )
    with open_context(str(images.root), StatCache(str(tmp_path / "own"))) as context:
        work = check(
            dockerfile, request, {"": context}, images.resolver, platform=AMD64, build_platform=AMD64
        )
        result = drive(work, asyncio.run)
    assert result.problem is None
    expected = case.get("check_expected", case["expected"])
    assert as_rows(result.findings, lines="check_expected" not in case) == expected

    try:
        warnings = images(case["dockerfile"], build_args=case["build_args"]).warnings
    except BuildError as problem:
        assert "build_error" in case or "foobar" in case["dockerfile"]
        warnings = problem.warnings
    assert sorted(warnings) == sorted(
        f"{row['rule']}: {row['detail']} (line {row['line']})" for row in case["expected"]
    )


@pytest.mark.parametrize("case", records("outline"))
def test_outline(case, images):
    """An outline or a list of targets has the given fields."""
    dockerfile = parse(case["dockerfile"])
    if case["op"] == "targets":
        found = {"targets": list_targets(dockerfile)}
    else:
        request = BuildRequest(
            context="",
            dockerfile=case["dockerfile"].encode(),
            target=case["target"],
            build_args=case["build_args"],
        )
        work = outline(dockerfile, request, images.resolver, platform=AMD64, build_platform=AMD64)
        found = drive(work, asyncio.run)
        found = {name: getattr(found, name) for name in ("name", "description", "args", "secrets", "ssh")}
    for member, expected in case["expected"].items():
        if isinstance(expected, str):
            assert found[member] == expected
            continue
        assert len(found[member]) == len(expected)
        for item, fields in zip(found[member], expected, strict=True):
            actual = {
                name: item.span.start_line
                if name == "line"
                else getattr(item, "is_default" if name == "default" else name)
                for name in fields
            }
            assert actual == fields
