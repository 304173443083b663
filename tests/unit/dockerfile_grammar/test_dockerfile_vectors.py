"""The tables of BuildKit and moby/patternmatcher, where they lie beside the checkout."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from dockerfile_grammar.arguments import LegacyPair, Words, name_value_pairs
from dockerfile_grammar.directives import DirectiveReader, find_directive
from dockerfile_grammar.dump import dump
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.flags import FlagKind, parse_flags
from dockerfile_grammar.forms import read_exec_form
from dockerfile_grammar.grammar import parse_arguments
from dockerfile_grammar.heredocs import heredocs_opened, read_heredoc_word, strip_leading_tabs
from dockerfile_grammar.ignorefile import IgnoreMatcher, read_patterns
from dockerfile_grammar.instructions import Arg, Copy, Healthcheck, Run
from dockerfile_grammar.mounts import parse_device
from dockerfile_grammar.parser import parse, parse_instruction
from dockerfile_grammar.ports import parse_ports
from dockerfile_grammar.wildcards import match_wildcard
from dockerfile_grammar.words import expand, split_words

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "dockerfile"
if not VECTORS.is_dir():
    pytest.skip("no test vectors beside this checkout", allow_module_level=True)

FILES = (
    "parser-dump",
    "parser-reject",
    "parser-units",
    "heredoc",
    "expand",
    "split-words",
    "instructions",
    "ports-and-plan",
    "ignore",
)
# Asked in tests of the builder.
ELSEWHERE = ("lint", "outline")
# Questions about the plan of a build, which belong to the builder.
NOT_OURS = {
    "convert",
    "platform_options",
    "add_env",
    "split_key_value",
    "proxy_env",
    "source_date_epoch",
    "source_date_epoch_stage",
}


def records():
    for name in FILES:
        with (VECTORS / f"{name}.jsonl").open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                record = json.loads(line)
                if record["op"] not in NOT_OURS:
                    yield pytest.param(record, id=f"{record['suite']}-{record['op']}-{record['id']}")


@pytest.mark.parametrize("record", list(records()))
def test_vector(record):
    """What the reference implementation demands should hold."""
    answer = ANSWERS[record["op"]]
    if "error" not in record:
        assert answer(record) == record["expected"]
        return
    with pytest.raises(DockerfileError) as caught:
        answer(record)
    rule, text = record["error"]["match"], record["error"].get("text", "")
    message = caught.value.message
    assert {
        "any": True,
        "equals": message == text,
        "contains": text in message,
        "regex": re.search(text, message),
    }[rule]


def environment(record):
    return dict(entry.partition("=")[::2] for entry in record["env"]).get


def lines_of(record):
    spans = [i.span for s in parse(record["dockerfile"]).stages for i in (s.base, *s.instructions)]
    return {
        "start": spans[0].start_line,
        "end": spans[-1].end_line,
        "children": [[span.start_line, span.end_line] for span in spans],
    }


def raw_words(record):
    return [str(word) for word in parse_arguments("arg", record["input"], record["escape"]).children[1:]]


def warnings_of(record):
    warnings = parse(record["dockerfile"]).warnings
    assert len(warnings) == len(record["expected"])
    return [
        {
            "short": [text for text in wanted["short"] if text in warning.message],
            "detail": [text for text in wanted["detail"] if text in warning.detail],
        }
        for warning, wanted in zip(warnings, record["expected"], strict=True)
    ]


def name_values(record):
    part = parse_arguments(record["instruction"].lower(), record["input"], "\\").children[1]
    words = [str(child) for child in part.children]
    legacy = part.rule == "legacy_pair"
    arguments = LegacyPair(words[0], words[1] if words[1:] else None) if legacy else Words(tuple(words))
    pairs = name_value_pairs(arguments, record["instruction"])
    return [[pair.name, pair.value, "" if legacy else "="] for pair in pairs]


def directives_of(record):
    reader = DirectiveReader("Dockerfile")
    found = [reader.read(line) for line in record["dockerfile"].split("\n")]
    return [[directive.name, directive.value] for directive in found if directive]


def directive_of(record):
    found = find_directive(record["key"], record["dockerfile"], any_format=record["any_format"])
    if found is None:
        return None
    answer = {
        "ref": found.first_word,
        "cmdline": found.value,
        "start": found.span.start_line,
        "end": found.span.end_line,
    }
    return {key: answer[key] for key in record["expected"] or answer}


def heredocs_of(record):
    instructions = parse(record["dockerfile"]).stages[0].instructions
    fields = ("name", "content", "expand", "chomp", "fd")
    return [[{field: getattr(h, field) for field in fields} for h in i.heredocs] for i in instructions]


def heredoc_word(record):
    heredoc = read_heredoc_word(record["input"])
    return heredoc and heredoc.name


def instruction_of(record):
    instruction = parse_instruction(record["dockerfile"])
    answer = {}
    if isinstance(instruction, Copy):
        contents = [{"path": h.name, "data": h.body, "expand": h.expand} for h in instruction.heredocs]
        answer = {"dest": instruction.dest, "sources": [*instruction.sources], "contents": contents}
    if isinstance(instruction, Run):
        command = instruction.command
        files = [{"name": h.name, "data": h.content, "chomp": h.chomp} for h in command.heredocs]
        words = [command.text] if command.shell else [*command.argv]
        answer = {
            "shell": command.shell,
            "command": words,
            "files": files,
            "flags_used": [*instruction.flags_used],
        }
    if isinstance(instruction, Healthcheck):
        answer = {"test": [*instruction.test]}
    return {key: answer[key] for key in record.get("expected", {})}


def flags_of(record):
    kinds = {
        flag["name"]: FlagKind.SWITCH if flag["type"] == "bool" else FlagKind.TEXT for flag in record["flags"]
    }
    given = parse_flags(kinds, record["args"])
    answer = {}
    for key, expected in record.get("expected", {}).items():
        if key == "values":
            answer[key] = {name: given.text(name) for name in expected}
        elif key == "used":
            answer[key] = sorted(given.used)
        else:
            answer[key] = [name for name in expected if name not in given.used]
    return answer


def survives(record):
    for dockerfile in record["dockerfiles"]:
        with contextlib.suppress(DockerfileError):
            parse(dockerfile)
    return record["expected"]


def doc_comments(record):
    dockerfile = parse(record["dockerfile"])
    stage_args = [i for s in dockerfile.stages for i in s.instructions if isinstance(i, Arg)]
    return {
        "meta_args": [[pair.name, pair.doc] for arg in dockerfile.meta_args for pair in arg.pairs],
        "stages": [stage.base.doc for stage in dockerfile.stages],
        "stage_args": [[pair.name, pair.doc] for arg in stage_args for pair in arg.pairs],
    }


def joined_arguments(record):
    words = record["args"]
    command = parse_instruction("RUN " + (json.dumps(words) if record["json"] else " ".join(words))).command
    return [command.text] if command.shell else [*command.argv]


def device_of(record):
    device = parse_device(record["input"])
    return {"name": device.name, "required": device.required}


def exec_form(record):
    form = read_exec_form(record["input"])
    return form and [*form]


def cleaned_patterns(record):
    matcher = IgnoreMatcher(record["patterns"])
    answer = {"count": len(matcher.patterns), "exclusions": matcher.has_exclusions}
    return {key: answer[key] for key in record.get("expected", {})}


ANSWERS = {
    "dump": lambda r: dump(r["dockerfile"]),
    "reject": lambda r: parse(r["dockerfile"]),
    "lines": lines_of,
    "parse_words": raw_words,
    "parse_warnings": warnings_of,
    "json_array": exec_form,
    "name_val": name_values,
    "directives": directives_of,
    "directive": directive_of,
    "heredocs": heredocs_of,
    "heredoc_word": heredoc_word,
    "heredoc_line": lambda r: [heredoc.name for heredoc in heredocs_opened(r["input"])],
    "heredoc_chomp": lambda r: strip_leading_tabs(r["input"]),
    "instruction": instruction_of,
    "expand": lambda r: expand(r["word"], environment(r), escape=r["escape"]),
    "split_words": lambda r: split_words(r["word"], environment(r), escape=r["escape"]),
    "flags": flags_of,
    "no_crash": survives,
    "doc_comments": doc_comments,
    "join_args": joined_arguments,
    "device": device_of,
    "ports": lambda r: [*parse_ports(r["input"])],
    "ignored": lambda r: IgnoreMatcher(r["patterns"]).is_ignored(r["name"]),
    "match": lambda r: match_wildcard(r["pattern"], r["name"]),
    "clean_patterns": cleaned_patterns,
    "read_ignore": lambda r: [*read_patterns(r["text"])],
}


def test_no_record_is_left_out():
    """Each file should be asked about here or in tests of the builder, with each of its records."""
    readme = (VECTORS / "README.md").read_text()
    stated = dict(re.findall(r"^### (\S+)\.jsonl \(P\d+, (\d+)\)$", readme, re.MULTILINE))
    assert {path.stem for path in VECTORS.glob("*.jsonl")} == {*FILES, *ELSEWHERE} == stated.keys()
    ops = []
    for name in FILES:
        lines = (VECTORS / f"{name}.jsonl").read_bytes().split(b"\n")[:-1]
        assert len(lines) == int(stated[name])
        ops += [json.loads(line)["op"] for line in lines]
    assert set(ops) <= ANSWERS.keys() | NOT_OURS
    assert len(list(records())) == sum(op not in NOT_OURS for op in ops)
