"""
The same Dockerfiles and contexts give the same images with pybuild, BuildKit and buildah.

All builds of a run happen once, at its start, and only for the cases that were selected. Each case is a test
for each peer; a difference must stand in the list of intended ones, and what stands there must be seen.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.clients import Docker as Daemon
from tests.e2e.differential import bases, intended, peers
from tests.e2e.differential.cases import write_context
from tests.e2e.differential.comparing import compare
from tests.e2e.differential.data_copy import ARCHIVES, COPY, STAGES
from tests.e2e.differential.data_files import FILES, LAYERS
from tests.e2e.differential.data_instructions import INSTRUCTIONS
from tests.e2e.differential.refused import REFUSED
from tests.e2e.support import Pybuild, make_base, need

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.userns]
CASES = {case.name: case for case in (*INSTRUCTIONS, *COPY, *FILES)}
# buildah is slower and further from BuildKit: it is asked where what happens to files is intricate.
PAIRS = [(name, "docker") for name in sorted(CASES)]
PAIRS += [(case.name, "buildah") for case in (*ARCHIVES, *STAGES, *LAYERS)]


@dataclass(frozen=True)
class Results:
    """What every builder made of every selected case."""

    built: dict

    def differences(self, name, peer):
        """How our image differs from the peer's."""
        ours, theirs = self.built["pybuild"][name], self.built[peer][name]
        return compare(ours, theirs, history=peer == "docker")

    def failures(self, name, peer):
        """What the builders said, for a report."""
        texts = {who: self.built[who][name].failure for who in ("pybuild", peer)}
        return "\n".join(f"{who}: {text[-600:]}" for who, text in texts.items() if text)


@pytest.fixture(scope="module")
def results(request, tmp_path_factory, archives):
    """Build the selected cases with every builder."""
    if request.config.getoption("collectonly"):
        pytest.skip("only collecting")
    need("dockerd", "buildah", "runc", "busybox")
    folder = tmp_path_factory.mktemp("differential")
    chosen = {"pybuild": [], "docker": [], "buildah": []}
    for item in request.session.items:
        if "results" in item.fixturenames:
            chosen[item.callspec.params["peer"]].append(item.callspec.params["name"])
    chosen["pybuild"] = sorted({*chosen["docker"], *chosen["buildah"]})
    for name in chosen["pybuild"]:
        write_context(CASES[name], folder / "contexts" / name)
    pybuild = Pybuild(folder / "store")
    make_base("busybox", pybuild, archives)
    (folder / "bases").mkdir()
    images = bases.write(archives / "busybox.tar", folder / "bases")
    (folder / "docker").mkdir()
    buildah = peers.Buildah(folder / "buildah")
    daemon = Daemon(folder / "docker").start()
    try:
        builders = [peers.Ours(pybuild), peers.Docker(daemon), buildah]
        yield Results(_build_all(builders, images, chosen, folder))
    finally:
        daemon.stop()
        buildah.close()


def _build_all(builders, images, chosen, folder):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda builder: builder.load(images), builders))
        jobs = {
            (builder.name, name): pool.submit(
                builder.build, f"case-{name}", folder / "contexts" / name, CASES[name].args
            )
            for name in chosen["pybuild"]
            for builder in builders
            if name in chosen[builder.name]
        }
        failures = {key: job.result() for key, job in jobs.items()}
        reading = {}
        for builder in builders:
            good = [f"case-{name}" for name in chosen[builder.name] if failures[builder.name, name] is None]
            reading[builder.name] = pool.submit(builder.images, good, folder)
    built = {builder.name: {} for builder in builders}
    for (builder, name), failure in failures.items():
        if failure is None:
            built[builder][name] = reading[builder].result()[f"case-{name}"]
        else:
            built[builder][name] = peers.Built(failure=failure)
    return built


@pytest.mark.parametrize(("name", "peer"), PAIRS)
def test_same_image(results, name, peer):
    """A case gives the peer's image, but for what is meant to differ; and that does differ."""
    found = results.differences(name, peer)
    open_lines, unseen = intended.judge(name, peer, found)
    report = "\n".join([f"{name} against {peer}", *open_lines, results.failures(name, peer)])
    assert not open_lines, report
    if "failed" not in "".join(found):
        failed = results.built["pybuild"][name].failure is not None
        assert failed == (name in REFUSED), report
    assert not unseen, f"{name} against {peer}: no longer differs: {unseen}"


def test_names_are_unique():
    """No case hides another, and the lists of differences name what is compared."""
    assert len(CASES) == len(INSTRUCTIONS) + len(COPY) + len(FILES)
    assert intended.named_pairs() <= {*PAIRS}
    assert CASES.keys() >= REFUSED
