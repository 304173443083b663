"""
The lists of the web page as HTML: repositories, tags, and pages that say why there is nothing else.

Invariant: a function of its arguments; what a picture says is said in words beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, element
from .page_content import TagLine
from .page_kinds import ATTACHED
from .page_lists import Listing, RepositoryLine
from .page_parts import (
    Frame,
    commands,
    count_text,
    crumbs,
    finder,
    next_page,
    nothing,
    section,
    short,
    size_text,
    table_of,
    totals_text,
    whole,
)
from .store.base import Totals

_LONG_HEX = re.compile(r"[0-9a-f]{64,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """
    How much of the storage is in use.

    Attributes:
        held: what the repositories hold together; None while it is counted.
        place: the bucket that it is in; empty for a directory or memory.
        used: bytes in use on the filesystem, also by others.
        size: bytes of the filesystem; 0 where there is none.
    """

    held: Totals | None
    place: str = ""
    used: int = 0
    size: int = 0


def repositories(
    frame: Frame, listing: Listing, lines: Sequence[RepositoryLine], storage: Storage | None, *, after: str
) -> str:
    """The list of repositories."""
    content: list[object] = []
    if lines or listing.word or after:
        content.append(finder(frame.link(), listing.word, "Find a repository"))
    if lines:
        content.append(element("ul", *(_card(frame, line) for line in lines), class_="cards"))
    elif listing.word or after:
        content.append(nothing("No repository has such a name." if listing.word else "No more repositories."))
    else:
        content.append(nothing("Nothing is here yet."))
        name = f"{frame.host}/app:1"
        content.append(commands("Push an image", [f"docker tag app {name}", f"docker push {name}"]))
        content.append(commands("Or build one", [f"pybuild -t {name} --push ."]))
    content.append(next_page(frame.link(), listing.following, listing.word))
    if storage is not None:
        content.append(_storage(storage))
    return whole(frame, "Repositories", *content)


def _card(frame: Frame, line: RepositoryLine) -> Markup:
    above, slash, last = line.name.rpartition("/")
    shown = element("span", element("span", above + slash, class_="above") if slash else None, last)
    held = None
    if line.totals is not None:
        text = f"{count_text(line.totals.tags, 'tag')} · {size_text(line.totals.size)}"
        held = element("span", text, class_="held")
    return element("li", element("a", shown, held, href=frame.link("r/", line.name)))


def _storage(storage: Storage) -> Markup:
    where = f" in {storage.place}" if storage.place else ""
    held = element("p", f"What repositories hold{where} is being counted.")
    if storage.held is not None:
        held = element(
            "p", f"Repositories hold {totals_text(storage.held)}{where}, shared content counted once."
        )
    if not storage.size:
        return section("Storage", held)
    text = f"{size_text(storage.used)} of {size_text(storage.size)} are in use on the storage."
    meter = element(
        "meter",
        text,
        min=0,
        max=storage.size,
        value=storage.used,
        high=int(storage.size * 0.9),
        aria_label="Storage use",
    )
    return section("Storage", held, meter, element("p", text, class_="held"))


def repository(
    frame: Frame,
    name: str,
    listing: Listing,
    lines: Sequence[TagLine],
    *,
    totals: Totals,
    origin: str = "",
) -> str:
    """The tags of a repository, how much it holds, and where it is mirrored from."""
    table: object = nothing("No tag has such a name." if listing.word else "This repository has no tags.")
    if lines:
        rows = [_tag_row(frame, name, line) for line in lines]
        table = table_of("Tags", ("Tag", "Content", "Size", "Digest"), rows)
    address = frame.link("r/", name)
    many = listing.word or listing.following or totals.tags > len(lines)
    content = [
        crumbs(frame, name),
        element("p", totals_text(totals), class_="lead"),
        element("p", "Mirrored from ", element("code", origin, class_="break")) if origin else None,
        finder(address, listing.word, "Find a tag") if many else None,
        table,
        next_page(address, listing.following, listing.word),
    ]
    return whole(frame, name, *content, name=name)


def _tag_row(frame: Frame, name: str, line: TagLine) -> Markup:
    label = line.name
    if ATTACHED.fullmatch(label):
        label = _LONG_HEX.sub(lambda found: f"{found[0][:12]}…", label)
    title = line.name if label != line.name else None
    link = element("a", label, href=frame.link("r/", name, ":", line.name), title=title)
    return element(
        "tr",
        element("th", link, scope="row"),
        element("td", line.summary),
        element("td", _sizes(line.size, line.largest), class_="number"),
        element("td", "" if line.digest is None else short(line.digest), class_="wide"),
    )


def _sizes(size: int | None, largest: int | None) -> str:
    if size is None:
        return ""
    if largest is None or size_text(largest) == size_text(size):
        return size_text(size)
    return f"{size_text(size)} to {size_text(largest)}"


def problem(frame: Frame, heading: str, text: str, *, sign_in: bool = False) -> str:
    """A page that says why there is no other."""
    way = element("a", "Sign in", href=frame.link("login"), class_="button") if sign_in else None
    back = element("a", "All repositories", href=frame.link())
    return whole(
        frame,
        heading,
        element("p", text, class_="lead"),
        element("p", way or back),
        name=heading,
    )
