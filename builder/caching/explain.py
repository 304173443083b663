"""
Why a step runs: the nearest earlier step of its kind, and what differs from it.

Compared are the preimages of definitions, which the cache index keeps, and for sources of the build context
the lists of their files, as far as `listings` still has them. Nothing is guessed: what no record says is not
said. Values of variables are never shown, only their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from oci_image.digest import Digest

from ..events import Event, EventSink, Notice, StepStarted
from ..graph import Step
from ..host import Host
from ..ops import BaseImage, Scratch
from .listings import Listings
from .preimages import Preimage, read_preimage

_LEAST = 3.0
"""Alike by less, two steps are different ones."""
_MOST_NAMES = 5
_LONGEST = 400


def explaining(sink: EventSink, host: Host) -> EventSink:
    """The same sink, told of each step that begins to run why it does."""
    explainer = Explainer(host)

    def explained(event: Event) -> None:
        sink(event)
        if isinstance(event, StepStarted) and not isinstance(event.step.op, BaseImage | Scratch):
            reasons = "; ".join(explainer.reasons(event.step))
            sink(Notice("info", f"{event.step.origin.title} runs: {reasons}"))

    return explained


class Explainer:
    """Compares steps with what the cache index of a host knew when the first one was asked about."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listings = Listings(host.state)
        self._known: dict[Digest, tuple[Preimage, float]] | None = None

    def reasons(self, step: Step) -> list[str]:
        """Why nothing is reused for a step; at least one."""
        if step.origin.no_cache:
            return ["it was asked to (--no-cache)"]
        if self._known is None:
            self._known = dict(self._definitions())
        if step.digest in self._known:
            return ["it was built before, but its result is not in the store any more"]
        wanted = read_preimage(step.preimage)
        near = self._nearest(wanted) if wanted is not None else None
        if wanted is None or near is None:
            return ["no such step was built before"]
        found = [*self._inputs(step, wanted, near), *self._parameters(wanted, near)]
        if wanted.version != near.version:
            found.append("this version of pybuild counts the results of earlier ones no more")
        return found or ["something else differs"]

    def _definitions(self) -> Iterator[tuple[Digest, tuple[Preimage, float]]]:
        for key, _, used in list(self._host.cache.items()):
            preimage = read_preimage(self._host.cache.preimage(key))
            # Inputs of content keys are named by more than one digest.
            if preimage is not None and not any(" " in name for name in preimage.inputs):
                yield key, (preimage, used)

    def _nearest(self, wanted: Preimage) -> Preimage | None:
        ranked = [
            (likeness(wanted, preimage), used, number)
            for number, (preimage, used) in enumerate(self._all())
            if preimage.kind == wanted.kind
        ]
        if not ranked or max(ranked)[0] < _LEAST:
            return None
        return self._all()[max(ranked)[2]][0]

    def _all(self) -> list[tuple[Preimage, float]]:
        return list((self._known or {}).values())

    def _inputs(self, step: Step, wanted: Preimage, near: Preimage) -> Iterator[str]:
        for number, inner in enumerate(step.inputs):
            before = near.inputs[number] if number < len(near.inputs) else ""
            if before == wanted.inputs[number]:
                continue
            title = inner.origin.title
            if isinstance(inner.op, BaseImage | Scratch):
                yield f"the base changed: {title}" if not number else f"{title} changed"
            else:
                yield f"{title} in front of it changed" if not number else f"{title}, which it uses, changed"

    def _parameters(self, wanted: Preimage, near: Preimage) -> Iterator[str]:
        for name in sorted({*wanted.op, *near.op}):
            now, before = wanted.op.get(name), near.op.get(name)
            if now == before:
                continue
            if name == "env":
                yield from _variables(now or [], before or [])
            elif name in ("sources", "mounts"):
                yield from self._parts(name[:-1], now or [], before or [])
            elif name in ("argv", "files"):
                yield "the command changed" if name == "argv" else "the text of a heredoc changed"
            elif name == "hosts":
                yield "the names of --add-host changed"
            else:
                yield f"{name} was {before!r}, is {now!r}"

    def _parts(
        self, what: str, now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
    ) -> Iterator[str]:
        """Sources of a COPY, or mounts, one by one."""
        if len(now) != len(before):
            yield f"it has {len(now)} {what}s, had {len(before)}"
            return
        for new, old in zip(now, before, strict=True):
            if new == old:
                continue
            shown = str(new.get("pattern", new.get("name", new.get("target", "")))) or "."
            digests = [one.get("context", one.get("content")) for one in (new, old)]
            if all(isinstance(digest, str) for digest in digests) and "name" not in new:
                yield from self._files(shown, *digests)
            else:
                yield f"the {what} {shown} changed"

    def _files(self, shown: str, now: str, before: str) -> Iterator[str]:
        new, old = self._listings.read(now), self._listings.read(before)
        if new is None or old is None or new == old:
            yield f"the content of {shown} changed"
            return
        changed = [name for name in new if name in old and new[name] != old[name]]
        for names, word in (
            ([name for name in changed if new[name][1:] != old[name][1:]], "changed"),
            ([name for name in changed if new[name][1:] == old[name][1:]], "has another mode"),
            ([name for name in new if name not in old], "is new"),
            ([name for name in old if name not in new], "is gone"),
        ):
            if names:
                more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
                yield f"in {shown}: {', '.join(names[:_MOST_NAMES])}{more} {word}"


def _variables(now: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    """Variables by name; their order counts for the key, too."""
    new, old = (dict(item.partition("=")[::2] for item in items) for items in (now, before))
    for names, word in (
        ([name for name in new if name in old and new[name] != old[name]], "has another value"),
        ([name for name in new if name not in old], "is new"),
        ([name for name in old if name not in new], "is gone"),
    ):
        if names:
            yield f"variable {', '.join(names)} {word}"
    if new == old:
        yield "the order of the variables changed"


def likeness(one: Preimage, other: Preimage) -> float:
    """How much two steps of a kind look like the same instruction, changed."""
    texts = one.text[:_LONGEST], other.text[:_LONGEST]
    score = 6.0
    if texts[0] != texts[1]:
        score = 4 * float(SequenceMatcher(None, *texts, autojunk=False).ratio())
    score += one.inputs[:1] == other.inputs[:1]
    same = sum(bool(one.op[name] == other.op.get(name)) for name in one.op)
    return score + same / max(1, len(one.op))
