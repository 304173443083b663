"""
A build that reuses results gives the same image as one that does not, whatever is built.

Random Dockerfiles over a small random context: built twice over one store (the second time all of it is
cached) and once over a fresh one; then a random edit, built incrementally and from nothing. All in one
process, through the use case that the command line calls. PYBUILD_PROPERTY_EXAMPLES sets how many.
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.build import build
from builder.cli.settings import Settings
from builder.cli.wiring import open_host
from builder.events import StepStarted
from builder.local import LocalStore
from builder.perform.base import given as given_result
from builder.request import BuildRequest
from tests.e2e.support import Pybuild, make_base

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]
DEFAULT = 30
EXAMPLES = int(os.environ.get("PYBUILD_PROPERTY_EXAMPLES") or DEFAULT)

NAMES = ("a", "b", "d/a", "d/e/f", "x.txt")
CONTENTS = st.sampled_from(["", "1\n", "2\n", "12\n"])
FILES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(CONTENTS, st.sampled_from([0o644, 0o755])), min_size=1
)
VALUES = st.sampled_from(["", "1", "two words", "$A", "${B:-c}"])
VARIABLES = st.sampled_from(["A", "B"])
DESTINATIONS = st.sampled_from(["/o", "/o/", "o/p/", "./", "/l/q"])
LINES = st.one_of(
    st.builds("COPY . {}".format, st.sampled_from(["/o/", "./", "/all/"])),
    st.builds("COPY --chmod={} *a* {}/".format, st.sampled_from(["600", "755"]), st.just("/g")),
    st.builds("COPY [ab]* d* {}".format, st.just("/both/")),
    st.builds("COPY <<E {}\n$A\nE".format, st.sampled_from(["/h", "k"])),
    st.builds('ENV {}="{}"'.format, VARIABLES, VALUES),
    st.builds('ARG {}="{}"'.format, VARIABLES, VALUES),
    st.builds("WORKDIR {}".format, st.sampled_from(["/w", "v", "/o/$A", "../u"])),
    st.sampled_from(
        [
            'RUN echo "$A-$B" >> /log',
            "RUN mkdir -p z && ls / > z/list",
            "RUN rm -rf /o /h; mkdir /l 2>/dev/null; ln -s b /l/m || true",
            # The list is complete before its file is made: commands here must give the same every time.
            'RUN l=$(find / -xdev -type f -newer /bin/sh 2>/dev/null | sort); echo "$l" > /found',
            "RUN --mount=target=/ctx cat /ctx/* > /seen 2>/dev/null || true",
            "LABEL l=$A",
            "USER 1000",
            "USER 0",
        ]
    ),
)


@st.composite
def builds(draw):
    """Lines and files, and both again after one edit."""
    lines, files = draw(st.lists(LINES, min_size=1, max_size=5)), draw(FILES)
    edited, changed = list(lines), dict(files)
    match draw(st.sampled_from(["line", "file", "more", "less", "argument"])):
        case "line":
            edited[draw(st.integers(0, len(lines) - 1))] = draw(LINES)
        case "file":
            changed[draw(st.sampled_from(sorted(files)))] = draw(st.tuples(CONTENTS, st.just(0o640)))
        case "more":
            changed.update(draw(FILES))
        case "less":
            changed.pop(min(files))
        case "argument":
            return (lines, files, {}), (lines, files, {"A": draw(VALUES)})
    return (lines, files, {}), (edited, changed, {})


@pytest.fixture(scope="module")
def base(tmp_path_factory, archives):
    """A store with busybox, to be copied."""
    root = tmp_path_factory.mktemp("property") / "store"
    make_base("busybox", Pybuild(root), archives)
    return root


def fresh(base, folder):
    """A store that holds the base and has no cache."""
    root = Path(tempfile.mkdtemp(dir=folder)) / "store"
    shutil.copytree(base, root, ignore=shutil.ignore_patterns("pybuild"), copy_function=os.link)
    return root


def built(root, folder, build_of):
    """Build; the digest of the manifest, or the error, and how many steps were performed."""
    lines, files, arguments = build_of
    context = Path(tempfile.mkdtemp(dir=folder))
    for name, (content, mode) in files.items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(content)
        (context / name).chmod(mode)
    text = "\n".join(["FROM busybox", *lines, ""])
    request = BuildRequest(context=str(context), dockerfile=text.encode(), build_args=arguments)
    performed = []

    def note(event):
        if isinstance(event, StepStarted) and given_result(event.step.op) is None:
            performed.append(event.step)

    with open_host(Settings.read(str(root)), LocalStore(str(root))) as host:
        try:
            result = asyncio.run(build(request, host, note))
        except Exception as problem:
            if getattr(problem, "message", None) is None:
                raise
            return problem.message, len(performed)
    return str(result.image.manifest.digest), len(performed)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == DEFAULT,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(pair=builds())
def test_hits_equal_misses(base, pair):
    """Cached or not, incrementally or from nothing: the same image."""
    before, after = pair
    with tempfile.TemporaryDirectory() as folder:
        root = fresh(base, folder)
        first, _ = built(root, folder, before)
        succeeded = first.startswith("sha256:")
        again, performed = built(root, folder, before)
        assert again == first
        assert not performed or not succeeded
        incremental, _ = built(root, folder, after)
        assert incremental == built(fresh(base, folder), folder, after)[0]
        # And back: nothing of the second build may have got into what the first one left.
        back, performed = built(root, folder, before)
        assert back == first
        assert not performed or not succeeded
