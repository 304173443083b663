"""
A manifest as HTML: what it is, how to get it, its parts, and what refers to it.

Invariant: a function of its arguments; what a picture says is said in words beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .markup import Markup, element, join
from .page_content import LayerLine, ManifestView, ReferrerLine
from .page_parts import (
    Frame,
    commands,
    count_text,
    crumbs,
    moment,
    nothing,
    section,
    short,
    short_text,
    size_text,
    table_of,
    whole,
)

_RAW_LIMIT = 64 * 1024
_WIDTH = 1000.0
_LEAST = 4.0  # that a layer can be seen
_COLOURS = 6
_IMAGES = ("image", "index")


def manifest(frame: Frame, name: str, reference: str, view: ManifestView) -> str:
    """A manifest: what it is, its parts, who refers to it, and how to get it."""
    is_digest = ":" in reference
    label = short_text(view.stored.digest) if is_digest else reference
    content: list[object] = [
        crumbs(frame, name, label),
        _summary(view),
        commands("Pull", _pulls(f"{frame.host}/{name}", reference, view)),
    ]
    if view.layers:
        content.append(_layers(view.layers, view.layers_size))
    if view.children:
        content.append(_children(frame, name, view))
    content.append(_referrers(frame, name, view.referrers))
    content.append(section("Details", element("dl", *_facts(frame, name, view))))
    if view.annotations:
        rows = [
            element("tr", element("th", key, scope="row"), element("td", value, class_="break value"))
            for key, value in view.annotations.items()
        ]
        content.append(section("Annotations", table_of("Annotations", ("Key", "Value"), rows)))
    raw = element("pre", _pretty(view.stored.raw), tabindex="0")
    content.append(element("details", element("summary", "Manifest as JSON"), raw))
    heading = join([name, element("span", "@" if is_digest else ":", label, class_="tag")])
    return whole(frame, heading, *content, name=f"{name}:{label}")


def _summary(view: ManifestView) -> Markup:
    """What it is at a glance."""
    known = dict(view.facts)
    parts: list[object] = [element("li", view.kind[:1].upper() + view.kind[1:], class_="badge")]
    if "Platform" in known:
        parts.append(element("li", known["Platform"]))
    if view.layers:
        layers = count_text(len(view.layers), "layer")
        parts.append(element("li", f"{size_text(view.layers_size)} in {layers}"))
    if view.children:
        parts.append(element("li", count_text(len(view.children), "manifest")))
    if "Created" in known:
        parts.append(element("li", moment(known["Created"])))
    return element("ul", *parts, class_="lead facts")


def _pulls(place: str, reference: str, view: ManifestView) -> list[str]:
    """The commands that get it: those of a tool that knows what it is."""
    digest = str(view.stored.digest)
    target = f"{place}@{digest}" if ":" in reference else f"{place}:{reference}"
    if view.kind in _IMAGES:
        return [f"{tool} pull {target}" for tool in ("docker", "podman", "pybuild")]
    if view.kind == "Helm chart":
        chart = target if ":" in reference else f"{place} --version {reference}"
        return [f"helm pull oci://{chart}"]
    return [f"oras pull {target}", f"skopeo copy docker://{target} oci:{place.rpartition('/')[2]}"]


def _facts(frame: Frame, name: str, view: ManifestView) -> list[Markup]:
    stored = view.stored
    facts: list[tuple[str, object]] = [
        ("Digest", element("code", str(stored.digest), class_="break")),
        ("Media type", element("code", stored.descriptor.media_type, class_="break")),
    ]
    if stored.descriptor.artifact_type and view.kind not in _IMAGES:
        facts.append(("Artifact type", element("code", stored.descriptor.artifact_type, class_="break")))
    facts += [(label, moment(text) if label == "Created" else text) for label, text in view.facts]
    if stored.subject is not None:
        subject = frame.link("r/", name, "@", str(stored.subject))
        facts.append(("Refers to", element("a", short_text(stored.subject), href=subject)))
    return [element("div", element("dt", key), element("dd", value)) for key, value in facts]


def widths(sizes: Sequence[int]) -> list[float]:
    """How wide layers are in the picture: in proportion, but none too small to be seen."""
    total = sum(sizes)
    least = min(_LEAST, _WIDTH / len(sizes))
    wide = [_WIDTH * size / total if total else _WIDTH / len(sizes) for size in sizes]
    lent = sum(least - one for one in wide if one < least)
    spare = sum(one - least for one in wide if one > least)
    return [least if one <= least else one - (one - least) * lent / spare for one in wide]


def _layers(lines: Sequence[LayerLine], total: int) -> Markup:
    shapes, rows, left = [], [], 0.0
    sizes = [line.descriptor.size for line in lines]
    for number, (line, width) in enumerate(zip(lines, widths(sizes), strict=True)):
        colour = f"l{number % _COLOURS}"
        bar = element("rect", x=f"{left:.2f}", y=0, width=f"{width:.2f}", height=28, class_=colour)
        title = element("title", f"Layer {number + 1}: {size_text(line.descriptor.size)}")
        shapes.append(element("g", title, bar))
        left += width
        rows.append(_layer_row(number, line, total))
    picture = element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_WIDTH:.0f} 28",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Sizes of the {len(lines)} layers, which the table below lists",
        class_="layers",
    )
    return section("Layers", picture, table_of("Layers", ("No.", "Content", "Share", "Size"), rows))


def _layer_row(number: int, line: LayerLine, total: int) -> Markup:
    box = element("rect", width=12, height=12, class_=f"l{number % _COLOURS}")
    swatch = element("svg", box, class_="swatch", aria_hidden="true")
    size = line.descriptor.size
    share = 100 * size / total if total else 0.0
    what = element("code", line.made_by[:300], class_="break made") if line.made_by else None
    if what is None:
        text = line.title or line.descriptor.media_type
        what = element("code", text[:300], class_="break made")
    return element(
        "tr",
        element("td", swatch, number + 1, class_="nowrap"),
        element("td", what, element("span", short(line.descriptor.digest), class_="below")),
        element("td", f"{share:.0f} %" if share >= 1 or not share else "< 1 %", class_="number soft"),
        element("td", size_text(size), class_="number"),
    )


def _children(frame: Frame, name: str, view: ManifestView) -> Markup:
    rows = []
    for child in view.children:
        link = element("a", child.what, href=frame.link("r/", name, "@", str(child.digest)))
        rows.append(
            element(
                "tr",
                element("th", link, scope="row"),
                element("td", short(child.digest)),
                element("td", "" if child.size is None else size_text(child.size), class_="number"),
            )
        )
    return section("Contents", table_of("Contents", ("Platform or kind", "Manifest", "Size"), rows))


def _referrers(frame: Frame, name: str, lines: Sequence[ReferrerLine]) -> Markup:
    rows = [
        element(
            "tr",
            element(
                "th", element("a", line.kind, href=frame.link("r/", name, "@", str(line.digest))), scope="row"
            ),
            element("td", element("code", line.type, class_="break")),
            element("td", size_text(line.size), class_="number"),
        )
        for line in lines
    ]
    content = (
        table_of("Referrers", ("Kind", "Type", "Size"), rows)
        if rows
        else nothing("No signatures, SBOMs or other artifacts refer to it.")
    )
    return section("Signatures, SBOMs and other referrers", content)


def _pretty(raw: bytes) -> str:
    if len(raw) > _RAW_LIMIT:
        return f"It is too long to be shown here ({size_text(len(raw))})."
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False).encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")
