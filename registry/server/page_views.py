"""
The web page as HTML.

Invariants: a function of its arguments; every page has one main heading, landmarks, and works without script
and with a keyboard; what a picture says is said in words beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .markup import Markup, element, join
from .page_content import LayerLine, ManifestView, ReferrerLine, TagLine
from .page_parts import (
    Frame,
    commands,
    crumbs,
    next_page,
    nothing,
    short,
    short_text,
    size_text,
    table_of,
    whole,
)
from .store.base import Totals

_RAW_LIMIT = 64 * 1024
_WIDTH = 1000.0


def repositories(frame: Frame, names: Sequence[str], following: str, storage: tuple[int, int] | None) -> str:
    """The list of repositories."""
    rows = [element("li", element("a", name, href=frame.link("r/", name))) for name in names]
    content: list[object] = [
        element("ul", *rows, class_="cards") if rows else nothing("Nothing is here yet.")
    ]
    if not rows and not following:
        content.append(commands("Push an image", [f"docker push {frame.host}/app:1"]))
    if storage is not None:
        content.append(_storage(*storage))
    return whole(frame, "Repositories", *content, next_page(frame.link(), following))


def _storage(used: int, total: int) -> Markup:
    text = f"{size_text(used)} of {size_text(total)} are in use on the storage."
    meter = element(
        "meter", text, min=0, max=total, value=used, high=int(total * 0.9), aria_label="Storage use"
    )
    return element("section", element("h2", "Storage"), element("p", text), meter)


def repository(
    frame: Frame,
    name: str,
    lines: Sequence[TagLine],
    *,
    following: str,
    totals: Totals,
    origin: str = "",
) -> str:
    """The tags of a repository, how much it holds, and where it is mirrored from."""
    rows = []
    for line in lines:
        href = frame.link("r/", name, ":", line.name)
        rows.append(
            element(
                "tr",
                element("th", element("a", line.name, href=href), scope="row"),
                element("td", line.summary),
                element("td", "" if line.size is None else size_text(line.size), class_="number"),
                element("td", "" if line.digest is None else short(line.digest)),
            )
        )
    table: object = nothing("This repository has no tags.")
    if rows:
        table = table_of("Tags", ("Tag", "Content", "Size", "Digest"), rows)
    mirrored = element("p", "Mirrored from ", element("code", origin, class_="break")) if origin else ""
    content = [
        crumbs(frame, name),
        mirrored,
        _holds(totals),
        table,
        next_page(frame.link("r/", name), following),
    ]
    return whole(frame, name, *content, name=name)


def _holds(totals: Totals) -> object:
    counts = ((totals.tags, "tag"), (totals.manifests, "manifest"), (totals.blobs, "blob"))
    words = ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)
    return element("p", f"{size_text(totals.size)} in {words}")


def manifest(frame: Frame, name: str, reference: str, view: ManifestView) -> str:
    """A manifest: what it is, its parts, who refers to it, and how to get it."""
    stored = view.stored
    label = reference if ":" not in reference else short_text(stored.digest)
    facts = [
        ("Digest", element("code", str(stored.digest), class_="break")),
        ("Media type", element("code", stored.descriptor.media_type, class_="break")),
        *view.facts,
    ]
    if stored.subject is not None:
        subject = frame.link("r/", name, "@", str(stored.subject))
        facts.append(("Refers to", element("a", short_text(stored.subject), href=subject)))
    if view.layers:
        facts.append(("Size", f"{size_text(view.layers_size)} in {len(view.layers)} layers"))
    pairs = [element("div", element("dt", key), element("dd", value)) for key, value in facts]
    target = f"{name}@{stored.digest}" if ":" in reference else f"{name}:{reference}"
    pulls = [f"{tool} pull {frame.host}/{target}" for tool in ("docker", "podman", "pybuild")]
    content: list[object] = [crumbs(frame, name, label), element("dl", *pairs)]
    content.append(commands("Pull", pulls))
    if view.layers:
        content.append(_layers(view.layers, view.layers_size))
    if stored.descriptor.media_type and view.children:
        content.append(_children(frame, name, view))
    content.append(_referrers(frame, name, view.referrers))
    if view.annotations:
        rows = [
            element("tr", element("th", key, scope="row"), element("td", value, class_="break"))
            for key, value in view.annotations.items()
        ]
        content.append(
            element("section", element("h2", "Annotations"), table_of("Annotations", ("Key", "Value"), rows))
        )
    content.append(
        element(
            "details",
            element("summary", "Manifest as JSON"),
            element("pre", _pretty(stored.raw), tabindex="0"),
        )
    )
    heading = join([name, element("span", ":" if ":" not in reference else "@", label, class_="tag")])
    return whole(frame, heading, *content, name=f"{name}:{label}")


def _layers(lines: Sequence[LayerLine], total: int) -> Markup:
    shapes, rows, left = [], [], 0.0
    for number, line in enumerate(lines):
        size = line.descriptor.size
        width = _WIDTH * size / total if total else _WIDTH / len(lines)
        text = f"Layer {number + 1}: {size_text(size)}"
        shapes.append(
            element(
                "g",
                element("title", text),
                element(
                    "rect",
                    x=f"{left:.2f}",
                    y=0,
                    width=f"{max(width, 1.0):.2f}",
                    height=28,
                    class_=f"l{number % 6}",
                ),
            )
        )
        left += width
        swatch = element(
            "svg",
            element("rect", width=12, height=12, class_=f"l{number % 6}"),
            class_="swatch",
            aria_hidden="true",
        )
        made = element("code", line.made_by[:300], class_="break made") if line.made_by else None
        rows.append(
            element(
                "tr",
                element("td", swatch, number + 1, class_="number"),
                element("td", size_text(size), class_="number"),
                element("td", short(line.descriptor.digest), made),
            )
        )
    picture = element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_WIDTH:.0f} 28",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Sizes of the {len(lines)} layers, which the table below lists",
        class_="layers",
    )
    return element(
        "section", element("h2", "Layers"), picture, table_of("Layers", ("No.", "Size", "Content"), rows)
    )


def _children(frame: Frame, name: str, view: ManifestView) -> Markup:
    rows = []
    for child in view.children:
        link = element("a", short_text(child.digest), href=frame.link("r/", name, "@", str(child.digest)))
        rows.append(
            element(
                "tr",
                element("th", link, scope="row"),
                element("td", child.what),
                element("td", "" if child.size is None else size_text(child.size), class_="number"),
            )
        )
    return element(
        "section",
        element("h2", "Contents"),
        table_of("Contents", ("Manifest", "Platform or kind", "Size"), rows),
    )


def _referrers(frame: Frame, name: str, lines: Sequence[ReferrerLine]) -> Markup:
    rows = [
        element(
            "tr",
            element(
                "th", element("a", line.kind, href=frame.link("r/", name, "@", str(line.digest))), scope="row"
            ),
            element("td", line.type, class_="break"),
            element("td", size_text(line.size), class_="number"),
        )
        for line in lines
    ]
    content = (
        table_of("Referrers", ("Kind", "Type", "Size"), rows)
        if rows
        else nothing("No signatures, SBOMs or other artifacts refer to it.")
    )
    return element("section", element("h2", "Signatures, SBOMs and other referrers"), content)


def problem(frame: Frame, heading: str, text: str) -> str:
    """A page that says why there is no other."""
    return whole(
        frame,
        heading,
        element("p", text),
        element("p", element("a", "All repositories", href=frame.link())),
        name=heading,
    )


def _pretty(raw: bytes) -> str:
    if len(raw) > _RAW_LIMIT:
        return f"It is too long to be shown here ({size_text(len(raw))})."
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False).encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")
