"""
Lists and maps of bytes that are put aside: of each item a few numbers are in memory, and nothing else.

For what there is of every directory of a large tree: a Python object takes some hundred bytes, an item here
about forty.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from .spool import Column, Spool

_KEY = "surrogatepass"
_FREE, _GONE = -1, -2
_SMALLEST = 64
_NEAR = 4096


class KeptList:
    """
    Bytes by number, in the order in which they came; used by one thread, or only read.

    Args:
        spool: where they are put aside.
    """

    def __init__(self, spool: Spool) -> None:
        self._column = Column(spool)
        self._ends = array("q", [0])
        # What was read last: whoever asks for one item often asks for the next one then.
        self._near = (0, b"")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, item: bytes) -> None:
        """Take the next item."""
        self._column.append(item)
        self._ends.append(self._column.size)

    def __getitem__(self, number: int) -> bytes:
        start, end = self._ends[number], self._ends[number + 1]
        first, near = self._near
        if start < first or end > first + len(near):
            near = self._column.read(start, max(end - start, _NEAR))
            first, self._near = start, (start, near)
        return near[start - first : end - first]

    def each(self, start: int, end: int) -> Iterator[bytes]:
        """
        The items from one number to before another one.

        Many are read at once; more may be appended meanwhile.
        """
        ends, block, first = self._ends, b"", 0
        for number in range(start, end):
            place, after = ends[number], ends[number + 1]
            if not first <= place <= after <= first + len(block):
                first, block = self._column.block_at(place)
            yield block[place - first : after - first]


class KeptMap:
    """
    Bytes by text, in the order in which they were set; used by one thread.

    Args:
        spool: where they are put aside.
    """

    def __init__(self, spool: Spool) -> None:
        self._items = KeptList(spool)
        self._hashes = array("q")
        self._alive = bytearray()
        self._count = 0
        self._used = 0
        # Numbers of items, each at the place that its hash says or at the next free one behind it.
        self._slots = _slots(_SMALLEST)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key)[1] is not None

    def get(self, key: str) -> bytes | None:
        """What was set last for the key; None for nothing."""
        return self._find(key)[1]

    def __setitem__(self, key: str, value: bytes) -> None:
        slot, old = self._find(key)
        if old is not None:
            self._alive[self._slots[slot]] = 0
            self._count -= 1
            self._used -= 1
        self._put(slot, key, value)

    def add(self, key: str) -> bool:
        """Set nothing for a key that is not there yet; whether it was not."""
        slot, old = self._find(key)
        if old is not None:
            return False
        self._put(slot, key, b"")
        return True

    def _put(self, slot: int, key: str, value: bytes) -> None:
        self._count += 1
        self._used += 1
        encoded = key.encode("utf-8", _KEY)
        self._slots[slot] = len(self._alive)
        self._items.append(b"%d:%s%s" % (len(encoded), encoded, value))
        self._hashes.append(hash(key))
        self._alive.append(1)
        if 3 * self._used > 2 * len(self._slots):
            self._arrange()

    def discard(self, key: str) -> None:
        """Forget a key, if it is there."""
        slot, old = self._find(key)
        if old is not None:
            self._alive[self._slots[slot]] = 0
            self._slots[slot] = _GONE
            self._count -= 1

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Keys and what was set for them; nothing may be set or discarded meanwhile."""
        for number, item in enumerate(self._items.each(0, len(self._items))):
            if self._alive[number]:
                length, _, rest = item.partition(b":")
                size = int(length)
                yield rest[:size].decode("utf-8", _KEY), rest[size:]

    def _find(self, key: str) -> tuple[int, bytes | None]:
        """The slot of a key with its value; the slot that it would get, and None, if it is not there."""
        slots, hashes, wanted = self._slots, self._hashes, hash(key)
        mask = len(slots) - 1
        slot = wanted & mask
        head = b""
        while (number := slots[slot]) != _FREE:
            if number >= 0 and hashes[number] == wanted:
                if not head:
                    encoded = key.encode("utf-8", _KEY)
                    head = b"%d:%s" % (len(encoded), encoded)
                item = self._items[number]
                if item.startswith(head):
                    return slot, item[len(head) :]
            slot = (slot + 1) & mask
        return slot, None

    def _arrange(self) -> None:
        """Make more slots, and forget the discarded ones."""
        size = _SMALLEST
        while size < 3 * self._count:
            size *= 2
        slots, mask = _slots(size), size - 1
        for number, value in enumerate(self._hashes):
            if self._alive[number]:
                slot = value & mask
                while slots[slot] != _FREE:
                    slot = (slot + 1) & mask
                slots[slot] = number
        self._slots, self._used = slots, self._count


def _slots(size: int) -> array[int]:
    return array("i", [_FREE]) * size
