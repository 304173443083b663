"""What is kept of the lists of upstreams."""

from types import SimpleNamespace

from registry.server.mirror import lists
from registry.server.mirror.lists import Lists


def test_kept_lists_are_bounded(monkeypatch):
    """By their number and by their rows; the newest one stays however long it is."""
    monkeypatch.setattr(lists, "_REMEMBERED", 5)
    monkeypatch.setattr(lists, "_ROWS", 100)
    kept = Lists(SimpleNamespace())
    for number in range(20):
        kept._remember(("tags", number), ("x",))
    assert list(kept._known) == [("tags", number) for number in range(15, 20)]
    for number in range(4):
        kept._remember(("tags", "long"), ("x",) * (40 + number))
        kept._remember(("tags", number), ("x",) * 40)
    assert list(kept._known) == [("tags", "long"), ("tags", 3)]
    kept._forget(("tags", "long"))
    kept._forget(("tags", "long"))
    assert kept._count == 40
    kept._remember(("tags", "longest"), ("x",) * 1000)
    assert list(kept._known) == [("tags", "longest")]
    kept._forget(("tags", "longest"))
    assert kept._count == 0
