"""
The parts that the pages of the web page share: frame, path, tables, commands.

Invariants: every page has one main heading and landmarks, and works without script and with a keyboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from oci_image.digest import Digest

from .markup import Markup, element
from .store.base import Totals

_ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='%234f63d2' stroke-width='2.4' stroke-linejoin='round'><path d='M12 3 21 8 12 13 3 8z'/>"
    "<path d='M3 12.5 12 17.5l9-5'/><path d='M3 17 12 22l9-5'/></svg>"
)

_COLUMNS = {"Share": "number", "Size": "number", "Digest": "wide"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """
    What all pages of one answer share.

    Attributes:
        title: the registry's name.
        prefix: the path below which the registry is shown.
        host: as names of images begin.
        user: who looks; empty for anybody.
        may_sign_in: whether there are users at all.
        style: the version of the style sheet; browsers keep each for long.
    """

    title: str
    prefix: str
    host: str
    user: str = ""
    may_sign_in: bool = False
    style: str = ""

    def link(self, *parts: str) -> str:
        """The address of a page."""
        return self.prefix + "/" + quote("".join(parts), safe="/:@")


def size_text(size: int) -> str:
    """A size as people read it."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def count_text(count: int, word: str) -> str:
    """So many of something."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def totals_text(totals: Totals) -> str:
    """What something holds, as a sentence goes on."""
    counts = ((totals.tags, "tag"), (totals.manifests, "manifest"), (totals.blobs, "blob"))
    return f"{size_text(totals.size)} in " + ", ".join(count_text(count, word) for count, word in counts)


def moment(text: str) -> object:
    """A time as people read it; what is none stays as it is."""
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            return text
        when = when.astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return element("time", f"{when.day} {when:%B} {when.year}, {when:%H:%M} UTC", datetime=text)


def whole(frame: Frame, heading: object, *content: object, name: str = "") -> str:
    """A complete document."""
    account: object = None
    if frame.user:
        account = element("span", "Signed in as ", element("strong", frame.user), class_="account")
    elif frame.may_sign_in:
        account = element("a", "Sign in", href=frame.link("login"), class_="account button")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name} · {frame.title}" if name else frame.title),
        element("link", rel="stylesheet", href=f"{frame.link('style.css')}?{frame.style}"),
        element("link", rel="icon", href=_ICON),
    )
    home = element("a", _mark(), element("span", frame.title), href=frame.link(), class_="home")
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("nav", home, account, aria_label="Registry")),
        element("main", element("h1", heading), *content, id="content"),
        element("footer", element("p", "Images at ", element("code", frame.host))),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _mark() -> Markup:
    """The sign beside the title: a stack of layers."""
    lines = ("M12 3 21 8 12 13 3 8z", "M3 12.5 12 17.5l9-5", "M3 17 12 22l9-5")
    paths = [element("path", d=line) for line in lines]
    return element("svg", *paths, viewBox="0 0 24 24", class_="mark", aria_hidden="true")


def crumbs(frame: Frame, name: str, last: str = "") -> Markup:
    """Where a page is, as links."""
    steps = [element("li", element("a", "Repositories", href=frame.link()))]
    if last:
        steps.append(element("li", element("a", name, href=frame.link("r/", name))))
    steps.append(element("li", last or name, aria_current="page"))
    return element("nav", element("ol", *steps), aria_label="Path", class_="crumbs")


def table_of(caption: str, columns: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that can be scrolled on a narrow screen; numbers stand at the right of their columns."""
    heads = [element("th", column, scope="col", class_=_COLUMNS.get(column)) for column in columns]
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
    )
    return element("div", table, class_="scroll", role="region", aria_label=caption, tabindex="0")


def section(heading: str, *content: object) -> Markup:
    """A part of a page."""
    return element("section", element("h2", heading), *content)


def commands(heading: str, lines: Sequence[str]) -> Markup:
    """Lines for a terminal; a click selects one of them."""
    rows = [element("code", line) for line in lines]
    return section(heading, element("pre", *rows, tabindex="0", class_="commands"))


def finder(address: str, word: str, label: str) -> Markup:
    """A form that narrows a list; it needs no script."""
    field = element(
        "input", type="search", name="find", value=word, placeholder=label, aria_label=label, maxlength=128
    )
    return element(
        "form", field, element("button", "Find"), action=address, method="get", role="search", class_="finder"
    )


def next_page(address: str, following: str, word: str = "") -> Markup | None:
    """The link to the following page of a list; None on the last one."""
    if not following:
        return None
    query = urlencode({"after": following} | ({"find": word} if word else {}))
    link = element("a", "Next page", href=f"{address}?{query}", rel="next", class_="button")
    return element("nav", link, aria_label="Pages", class_="pages")


def nothing(text: str) -> Markup:
    """A sentence in place of a list."""
    return element("p", text, class_="nothing")


def short_text(digest: Digest) -> str:
    """The start of a digest, enough for people."""
    return f"{digest.algorithm}:{digest.hex[:12]}"


def short(digest: Digest) -> Markup:
    """The start of a digest, which tells the whole when pointed at."""
    return element("code", short_text(digest), title=str(digest))
