"""Documents that point somewhere point at something."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DOCUMENTS = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    """Relative links name files of the repository, with headings that exist."""
    for target in LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        found = (document.parent / path) if path else document
        assert found.exists(), f"{document}: {target}"
        if heading and found.suffix == ".md":
            slugs = {
                re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
                for line in found.read_text().splitlines()
                if line.startswith("#")
            }
            assert heading in slugs, f"{document}: {target}"


@pytest.mark.parametrize("package", ["builder", "dockerfile_grammar", "oci_image", "registry", "runtime"])
def test_every_package_explains_itself(package):
    """Each package has a one-page README: owns, must not, vocabulary, how to add one more."""
    text = (ROOT / package / "README.md").read_text()

    for heading in ("Owns", "Must not", "Vocabulary", "How to add"):
        assert re.search(rf"^#+ {heading}", text, re.MULTILINE), f"{package}/README.md has no '{heading}'"
    assert len(text.splitlines()) <= 120
