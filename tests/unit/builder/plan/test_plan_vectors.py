"""
Public test tables of Dockerfile planning, where they lie beside the checkout.

Left out: ``platform_options`` (a build has one build platform, chosen by its caller), and ``ports`` (tested
with the grammar).
"""

import asyncio
import json
from pathlib import Path

import pytest

from builder.epochs import Epochs
from builder.errors import BuildError
from builder.lowering.run import proxy_variables
from builder.lowering.state import add_variable, split_variable
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse

TABLES = Path(__file__).resolve().parents[5] / "shared" / "vectors" / "dockerfile"
if not TABLES.is_dir():
    pytest.skip("no test tables beside this checkout", allow_module_level=True)


LEFT_OUT = {"platform_options", "ports"}
ASKED: set[str] = set()


def records():
    with (TABLES / "ports-and-plan.jsonl").open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def cases(op):
    ASKED.add(op)
    found = [case for case in records() if case["op"] == op]
    return pytest.mark.parametrize("case", found, ids=lambda case: case["id"])


def test_no_question_is_left_out_silently():
    """Every kind of question should be asked below, or be named above with the reason."""
    assert {case["op"] for case in records()} == ASKED | LEFT_OUT


@cases("add_env")
def test_add_env(case):
    """A variable should be replaced in place or appended."""
    assert list(add_variable(tuple(case["env"]), case["key"], case["value"])) == case["expected"]


@cases("split_key_value")
def test_split_key_value(case):
    """Name and value should be split at the first equals sign."""
    assert list(split_variable(case["input"])) == case["expected"]


@cases("proxy_env")
def test_proxy_env(case):
    """Of two spellings the lower-case one should win."""
    found = dict(item.partition("=")[::2] for item in proxy_variables(case["build_args"]))
    assert {name: found.get(f"{name}_proxy", "") for name in case["expected"]} == case["expected"]


@cases("source_date_epoch")
def test_source_date_epoch(plans, case):
    """Something that is no time should be refused; a context without a time sets nothing."""

    def planned():
        return plans("FROM scratch\n", build_args={"SOURCE_DATE_EPOCH": case["value"]})

    if "error" not in case:
        assert planned().epoch is case["expected"]
        return
    with pytest.raises(BuildError) as caught:
        planned()
    assert case["error"]["text"] in caught.value.message


@cases("source_date_epoch_stage")
def test_source_date_epoch_stage(case):
    """A stage should stand for the time of its one remote source, or be refused."""
    fetched = []

    class Site:
        fetches = True

        async def fetch(self, source):
            fetched.append(source.url)

        async def time_of(self, source):
            del source
            return 7

    text = case["dockerfile"].encode()
    request = BuildRequest(context="", dockerfile=text, build_args={"SOURCE_DATE_EPOCH": case["stage"]})
    work = Epochs(parse(text), request, {}, {}, Site()).settled()
    if "error" in case:
        with pytest.raises(BuildError) as caught:
            asyncio.run(work)
        assert case["error"]["text"] in caught.value.message
        return
    assert asyncio.run(work)[0].epoch == 7
    assert [url.rpartition("/")[2] for url in fetched] == [case["expected"]["filename"]]


@cases("convert")
def test_convert(plans, case):
    """The plan should be accepted or refused."""
    plans.tree({"f1": "1", "f2": "2", "foo": "", "bar": "", "dir/src/a.go": ""})
    for name in ("busybox", "ubuntu", "debian"):
        plans.resolver.images[f"docker.io/library/{name}:latest"] = plans.image_of(name)
    options = {"target": case["target"]} if case["target"] else {}
    if "error" in case:
        with pytest.raises((BuildError, DockerfileError)) as caught:
            plans(case["dockerfile"], **options)
        if case["error"]["match"] == "equals":
            assert caught.value.message == case["error"]["text"]
        return
    config = plans.run_config(case["dockerfile"], **options)
    assert dict(config.labels) == case["expected"].get("labels", {})
