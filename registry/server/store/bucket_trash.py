"""
What was collected from a bucket, why, and bringing it back.

Invariants: the log is written to the bucket before anything goes, so it can be read again from there; bytes
of content stay where they are until they are purged, only their mark is in the trash.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from oci_image.digest import Digest

from ...errors import RegistryError
from ..gc_log import Deletion, DeletionLog, Record
from . import bucket_layout as keys
from .bucket import Bucket
from .bucket_blobs import BucketBlobs


class BucketLog(DeletionLog):
    """
    A `DeletionLog` that repeats itself in the bucket.

    Args:
        path: its file; it is created.
        bucket: of the registry.
    """

    def __init__(self, path: str, bucket: Bucket) -> None:
        super().__init__(path, keys.TRASH)
        self._bucket = bucket

    def record(self, run: str, deletions: Sequence[Deletion], wall: float, steady: float) -> list[Record]:
        """As in `DeletionLog`."""
        made = super().record(run, deletions, wall, steady)
        lines = [
            {
                "run": record.run,
                "wall": record.wall,
                "kind": record.deletion.kind,
                "repository": record.deletion.repository,
                "digest": str(record.deletion.digest),
                "size": record.deletion.size,
                "reason": record.deletion.reason,
                "path": record.path,
                "tag": record.deletion.tag,
            }
            for record in made
        ]
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            self._bucket.write(f"{keys.DELETIONS}/{uuid.uuid4().hex}.jsonl", text.encode())
        return made

    def recover(self, steady: float) -> None:
        """Read the log again from the bucket; what is in the trash can be brought back anew."""
        kept = {entry.key for entry in self._bucket.entries(keys.TRASH)}
        rows: list[dict[str, object]] = []
        for entry in self._bucket.entries(keys.DELETIONS):
            found = self._bucket.read(entry.key)
            rows += [json.loads(line) for line in (found[0] if found else b"").splitlines()]
        rows.sort(key=lambda row: float(str(row["wall"])))
        self.insert(
            [
                (
                    row["run"],
                    row["wall"],
                    steady,
                    row["kind"],
                    row["repository"],
                    row["digest"],
                    row["size"],
                    row["reason"],
                    str(row["path"]).rpartition("/")[2],
                    "kept" if row["path"] in kept else "purged",
                    row.get("tag", ""),
                )
                for row in rows
            ]
        )

    def marked(self) -> frozenset[Digest]:
        """The content that was collected and not purged yet."""
        return frozenset(
            record.deletion.digest
            for record in self.kept_before(float("inf"))
            if record.deletion.kind == "content"
        )


class BucketTrash:
    """
    Implements `Trash`.

    Args:
        bucket: of the registry.
        blobs: where they go.
    """

    def __init__(self, bucket: Bucket, blobs: BucketBlobs) -> None:
        self._bucket = bucket
        self._blobs = blobs

    def has(self, record: Record) -> bool:
        """Whether it is there."""
        return self._bucket.head(record.path) is not None

    def read(self, record: Record) -> bytes | None:
        """The stored bytes of a manifest."""
        found = self._bucket.read(record.path)
        return None if found is None else found[0]

    def restore_blob(self, record: Record) -> None:
        """Give the blob back to its repository."""
        self._restore(record, record.deletion.repository)

    def restore_content(self, record: Record) -> None:
        """Let the bytes stay."""
        self._restore(record, "")

    def _restore(self, record: Record, repository: str) -> None:
        if not self._blobs.restore(repository, record.deletion.digest):
            raise RegistryError(f"the content of {record.deletion.digest} is damaged or gone")

    def discard(self, record: Record) -> None:
        """Remove what was kept; the bytes of content stay."""
        self._bucket.remove(record.path)

    def purge(self, record: Record) -> None:
        """Remove what was kept, and the bytes of content that nobody has."""
        if record.deletion.kind == "content":
            self._blobs.purge_content(record.deletion.digest)
        self._bucket.remove(record.path)
