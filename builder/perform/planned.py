"""What a draft holds for a path, or for all files of a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from oci_image.layer.entry import Entry

from .items import Contents, Group


class Planned(NamedTuple):
    """An entry, and for a file where its bytes come from."""

    entry: Entry
    contents: Contents | None = None
    key: Any = None


class Grouped(NamedTuple):
    """All files that the draft has in a directory, while nothing else is asked about any of them."""

    directory: str
    group: Group
    style: Callable[[Entry], Entry]

    def planned(self) -> Iterator[Planned]:
        """The same files one by one."""
        prefix = f"{self.directory}/" if self.directory else ""
        for entry, contents, key in self.group.members():
            path = prefix + entry.path.rpartition("/")[2]
            yield Planned(self.style(entry._replace(path=path)), contents, key)
