"""
The parts that the pages of the web page share: frame, path, tables, commands.

Invariants: every page has one main heading and landmarks, and works without script and with a keyboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from oci_image.digest import Digest

from .markup import Markup, element


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


def whole(frame: Frame, heading: object, *content: object, name: str = "") -> str:
    """A complete document."""
    account: object = None
    if frame.user:
        account = element("span", "Signed in as ", element("strong", frame.user), class_="account")
    elif frame.may_sign_in:
        account = element("a", "Sign in", href=frame.link("login"), class_="account")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name} · {frame.title}" if name else frame.title),
        element("link", rel="stylesheet", href=f"{frame.link('style.css')}?{frame.style}"),
        element("link", rel="icon", href="data:,"),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element(
            "header",
            element(
                "nav",
                element("a", frame.title, href=frame.link(), class_="home"),
                account,
                aria_label="Registry",
            ),
        ),
        element("main", element("h1", heading), *content, id="content"),
        element("footer", element("p", "Images at ", element("code", frame.host))),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def crumbs(frame: Frame, name: str, last: str = "") -> Markup:
    """Where a page is, as links."""
    steps = [element("li", element("a", "Repositories", href=frame.link()))]
    if last:
        steps.append(element("li", element("a", name, href=frame.link("r/", name))))
    steps.append(element("li", last or name, aria_current="page"))
    return element("nav", element("ol", *steps), aria_label="Path", class_="crumbs")


def table_of(caption: str, columns: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that can be scrolled on a narrow screen."""
    heads = [element("th", column, scope="col") for column in columns]
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
    )
    return element("div", table, class_="scroll", role="region", aria_label=caption, tabindex="0")


def commands(heading: str, lines: Sequence[str]) -> Markup:
    """Lines for a terminal."""
    return element(
        "section", element("h2", heading), element("pre", element("code", "\n".join(lines)), tabindex="0")
    )


def next_page(address: str, following: str) -> Markup | None:
    """The link to the following page of a list; None on the last one."""
    if not following:
        return None
    link = element("a", "Next page", href=f"{address}?after={quote(following, safe='')}", rel="next")
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
