"""How two built images differ, as lines that the list of intended differences can name."""

import json

from tests.e2e.differential import trees

FIELDS = (
    *("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes"),
    *("Shell", "Healthcheck", "StopSignal", "OnBuild"),
)
EMPTY = (None, "", [], {})


def compare(ours, theirs, *, history):
    """
    Lines that say how our result differs from a peer's.

    `history` also compares the history and the number of layers, which only BuildKit makes as we do.
    """
    if ours.failure is not None or theirs.failure is not None:
        if ours.failure is not None and theirs.failure is not None:
            return []
        return [f"build: {'ours' if ours.failure is not None else 'theirs'} failed"]
    mine, other = ours.document.get("config", {}), theirs.document.get("config", {})
    lines = []
    for name in FIELDS:
        left, right = mine.get(name), other.get(name)
        # Absent, null and empty mean the same to every runtime.
        if left != right and not (left in EMPTY and right in EMPTY):
            lines.append(f"config {name}: ours {_shown(left)} theirs {_shown(right)}")
    if ours.document.get("author", "") != theirs.document.get("author", ""):
        lines.append(f"author: ours {ours.document.get('author')} theirs {theirs.document.get('author')}")
    if history:
        lines += _histories(ours.document, theirs.document)
    return lines + trees.differences(ours.tree, theirs.tree)


def _shown(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _histories(ours, theirs):
    lines = []
    left = [(step.get("created_by"), step.get("empty_layer", False)) for step in ours.get("history", [])]
    right = [(step.get("created_by"), step.get("empty_layer", False)) for step in theirs.get("history", [])]
    for number in range(max(len(left), len(right))):
        mine = left[number] if number < len(left) else None
        other = right[number] if number < len(right) else None
        if mine != other:
            lines.append(f"history {number}: ours {mine} theirs {other}")
    counts = [len(document["rootfs"].get("diff_ids") or []) for document in (ours, theirs)]
    if counts[0] != counts[1]:
        lines.append(f"layers: ours {counts[0]} theirs {counts[1]}")
    return lines
