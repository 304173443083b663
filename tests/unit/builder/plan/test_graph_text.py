"""Plans as text and as JSON."""

import json

from builder.graph_text import describe_graph, graph_json

TEXT = """FROM app AS base
WORKDIR /w
COPY --chown=me f d/ /to/
RUN --mount=type=cache,target=/c --mount=from=bare,source=/x,target=/x --mount=source=d,target=/d make
FROM base AS last
COPY --from=base --exclude=*.o /a /b
COPY <<EOF /e
12
EOF
RUN <<EOF
#!/bin/true
EOF
LABEL a=b
"""


def test_the_text_names_everything(plans):
    """The text should show steps in order with inputs, what they do, and the configuration."""
    plans.tree({"f": "1", "d/x": "2"})
    text = describe_graph(plans(TEXT, build_args={"X": "1"}, no_cache=True))
    lines = [line.strip() for line in text.splitlines()]
    assert "#2 [base 2/4] WORKDIR /w  (on #1)" in lines
    assert "make /w for app" in lines
    assert any(line.startswith("f of the build context, ") for line in lines)
    assert "mount cache at /c" in lines
    assert "mount bind at /x from /x of input 2 read-only" in lines
    assert "/a of input 2 -> /b (without *.o)" in lines
    assert "EOF, 3 bytes in the Dockerfile -> /e" in lines
    assert "file /dev/pipes/EOF, 12 bytes in the Dockerfile" in lines
    assert "Labels: a=b" in lines
    assert any(line.endswith("never reused") for line in lines)
    assert lines[-1] == "warning: [Warning] One or more build-args [X] were not consumed"


def test_the_json_holds_what_the_digests_cover(plans):
    """The JSON should be plain values, with inputs as numbers of earlier steps."""
    plans.tree({"f": "1", "d/x": "2"})
    value = graph_json(plans(TEXT))
    assert json.loads(json.dumps(value)) == value
    assert [step["number"] for step in value["steps"]] == list(range(1, len(value["steps"]) + 1))
    assert all(number < step["number"] for step in value["steps"] for number in step["inputs"])
    assert value["targets"][0]["step"] == len(value["steps"])
    assert value["steps"][0]["op"] == "BaseImage"
    assert value["targets"][0]["config"]["config"]["Labels"] == {"a": "b"}
