"""
What a registry should answer, as a small model that is compared with a real one, request by request.

A `Dialect` names every point where a real registry is known to differ from the model, each with its reason; a
registry of ours has none.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oci_image.digest import Digest
from tests.contract.faults.serving import OCTETS, Session, image

BLOBS = [b"", b"one", b"two" * 100, b"three" * 20_000, b"four" * 100_000]
TAGS = ["a", "b", "c.1", "Z"]
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Dialect:
    """
    Where a registry differs from the model.

    Attributes:
        deletes_tags: A tag can be deleted by its name.
        pages_tags: Lists of tags are sorted and come in pages.
        refuses_gaps: A chunk that does not start at the end of the upload is a 416.
        knows_empty_repositories: A repository that lost its manifests keeps a list of tags.
        ends_wrong_uploads: A wrong digest ends the upload.
        lists_referrers: There is an API for referrers.
    """

    deletes_tags: bool = True
    pages_tags: bool = True
    refuses_gaps: bool = True
    knows_empty_repositories: bool = True
    ends_wrong_uploads: bool = True
    lists_referrers: bool = True


# docker-registry 2.8.2: tags are deleted by the digest of their manifest only, "n" and "last" are ignored,
# chunks are appended wherever they say that they start, a repository whose tags went answers 404, a wrong
# digest leaves the upload, and version 1.1 of the specification came later.
DEBIAN = Dialect(
    deletes_tags=False,
    pages_tags=False,
    refuses_gaps=False,
    knows_empty_repositories=False,
    ends_wrong_uploads=False,
    lists_referrers=False,
)


@dataclass
class Repository:
    """What the model remembers of one."""

    name: str
    blobs: set[int] = field(default_factory=set)
    manifests: dict[Digest, bytes] = field(default_factory=dict)
    subjects: dict[Digest, Digest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)


@dataclass
class Upload:
    """One in progress."""

    repository: Repository
    location: str
    data: bytes = b""


repositories = st.integers(0, 1)
blobs = st.integers(0, len(BLOBS) - 1)
tags = st.sampled_from(TAGS)
SHIFTS = st.sampled_from([0, 0, 0, 1, -1])  # from the end of the upload


class Conversation(RuleBasedStateMachine):
    """A client that knows what each answer must be."""

    url = ""
    dialect = Dialect()
    steps = 0

    @initialize()
    def begin(self):
        """New repositories, so that nothing has to be removed."""
        number = next(NUMBERS)
        self.session = Session(self.url)
        self.repositories = [Repository(f"run{number}/{name}") for name in ("left", "right")]
        self.uploads: list[Upload] = []

    def ask(self, method, path, body=None, headers=None):
        type(self).steps += 1
        path = path.removeprefix(self.url)
        status, answered, text = self.session(method, path, body, headers)
        assert status < 500, (method, path, status, text)
        return status, answered, text

    @rule(at=repositories, blob=blobs)
    def push(self, at, blob):
        """In two requests, as every client does."""
        repository, data = self.repositories[at], BLOBS[blob]
        status, answered, _ = self.ask("POST", f"/v2/{repository.name}/blobs/uploads/", b"")
        assert status == 202
        location = self.with_digest(answered["Location"], Digest.of(data))
        status, answered, _ = self.ask("PUT", location, data, {"Content-Type": OCTETS})
        assert status == 201
        assert answered["Docker-Content-Digest"] == str(Digest.of(data))
        repository.blobs.add(blob)

    @staticmethod
    def with_digest(location, digest):
        return f"{location}{'&' if '?' in location else '?'}digest={digest}"

    @rule(at=repositories, blob=blobs, method=st.sampled_from(["GET", "HEAD"]))
    def read_blob(self, at, blob, method):
        """There, or not."""
        repository, data = self.repositories[at], BLOBS[blob]
        status, answered, body = self.ask(method, f"/v2/{repository.name}/blobs/{Digest.of(data)}")
        assert status == (200 if blob in repository.blobs else 404)
        if status == 200:
            assert answered["Content-Length"] == str(len(data))
            assert body == (data if method == "GET" else b"")

    @rule(at=repositories, blob=blobs)
    def mount(self, at, blob):
        """From the other repository."""
        repository, source = self.repositories[at], self.repositories[1 - at]
        query = f"mount={Digest.of(BLOBS[blob])}&from={source.name}"
        status, answered, _ = self.ask("POST", f"/v2/{repository.name}/blobs/uploads/?{query}", b"")
        assert status == (201 if blob in source.blobs else 202)
        if status == 201:
            repository.blobs.add(blob)
        else:
            assert self.ask("DELETE", answered["Location"])[0] == 204

    @rule(at=repositories, blob=blobs)
    def delete_blob(self, at, blob):
        """Once."""
        repository = self.repositories[at]
        status, _, _ = self.ask("DELETE", f"/v2/{repository.name}/blobs/{Digest.of(BLOBS[blob])}")
        assert status == (202 if blob in repository.blobs else 404)
        repository.blobs.discard(blob)

    @rule(at=repositories)
    def open_upload(self, at):
        """At most a few."""
        if len(self.uploads) < 3:
            repository = self.repositories[at]
            status, answered, _ = self.ask("POST", f"/v2/{repository.name}/blobs/uploads/", b"")
            assert status == 202
            self.uploads.append(Upload(repository, answered["Location"]))

    @rule(
        which=st.integers(0, 2),
        data=st.binary(min_size=1, max_size=40),
        shift=st.sampled_from([0, 0, 0, 1, -1]),
    )
    def send_chunk(self, which, data, shift):
        """At the end of the upload it is taken; anywhere else it is refused, and nothing changes."""
        if which >= len(self.uploads):
            return
        upload = self.uploads[which]
        begin = len(upload.data) + shift
        if begin < 0 or (shift and not self.dialect.refuses_gaps):
            return
        where = {"Content-Range": f"{begin}-{begin + len(data) - 1}", "Content-Type": OCTETS}
        status, answered, _ = self.ask("PATCH", upload.location, data, where)
        assert status == (202 if shift == 0 else 416)
        if status == 202:
            upload.data += data
            upload.location = answered["Location"]
            assert answered["Range"] == f"0-{len(upload.data) - 1}"

    @rule(which=st.integers(0, 2))
    def ask_for_progress(self, which):
        """The offset."""
        if which < len(self.uploads):
            upload = self.uploads[which]
            status, answered, _ = self.ask("GET", upload.location)
            assert status == 204
            assert answered["Range"] == f"0-{max(0, len(upload.data) - 1)}"
            upload.location = answered["Location"]

    @rule(which=st.integers(0, 2))
    def cancel(self, which):
        """Then it is unknown."""
        if which < len(self.uploads):
            upload = self.uploads.pop(which)
            assert self.ask("DELETE", upload.location)[0] == 204
            assert self.ask("GET", upload.location)[0] == 404

    @rule(which=st.integers(0, 2), is_right=st.booleans())
    def finish(self, which, is_right):
        """With its digest, or with a wrong one."""
        if which >= len(self.uploads):
            return
        upload = self.uploads[which]
        digest = Digest.of(upload.data if is_right else upload.data + b"x")
        status, _, _ = self.ask("PUT", self.with_digest(upload.location, digest), b"")
        assert status == (201 if is_right else 400)
        self.uploads.pop(which)
        if is_right or self.dialect.ends_wrong_uploads:
            assert self.ask("GET", upload.location)[0] == 404
        if is_right:
            upload.repository.blobs |= {BLOBS.index(upload.data)} if upload.data in BLOBS else set()
            status, _, body = self.ask("GET", f"/v2/{upload.repository.name}/blobs/{digest}")
            assert (status, body) == (200, upload.data)

    @rule(
        at=repositories, config=blobs, layers=st.lists(blobs, max_size=3), tag=tags, by_digest=st.booleans()
    )
    def push_image(self, at, config, layers, tag, by_digest):
        """Accepted when everything is there."""
        repository = self.repositories[at]
        raw = image(BLOBS[config], *(BLOBS[layer] for layer in layers))
        digest = Digest.of(raw)
        status = self.session.put(repository.name, digest if by_digest else tag, raw)
        type(self).steps += 1
        assert status == (201 if {config, *layers} <= repository.blobs else 400)
        if status == 201:
            repository.manifests[digest] = raw
            if not by_digest:
                repository.tags[tag] = digest

    @rule(at=repositories, config=blobs, number=st.integers(0, 9))
    def push_referrer(self, at, config, number):
        """It is listed for its subject."""
        repository = self.repositories[at]
        if not self.dialect.lists_referrers or config not in repository.blobs or not repository.manifests:
            return
        subject = sorted(repository.manifests)[number % len(repository.manifests)]
        row = {"mediaType": "application/x", "digest": str(subject), "size": 1}
        raw = image(BLOBS[config], subject=row)
        assert self.session.put(repository.name, Digest.of(raw), raw) == 201
        repository.manifests[Digest.of(raw)] = raw
        repository.subjects[Digest.of(raw)] = subject
        status, _, body = self.ask("GET", f"/v2/{repository.name}/referrers/{subject}")
        assert status == 200
        wanted = {str(digest) for digest, about in repository.subjects.items() if about == subject}
        assert {entry["digest"] for entry in json.loads(body)["manifests"]} == wanted

    @rule(at=repositories, tag=tags, method=st.sampled_from(["GET", "HEAD"]))
    def read_tag(self, at, tag, method):
        """The bytes that were pushed."""
        repository = self.repositories[at]
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        status, answered, body = self.ask(method, f"/v2/{repository.name}/manifests/{tag}", None, accept)
        assert status == (200 if tag in repository.tags else 404)
        if status == 200:
            digest = repository.tags[tag]
            assert answered["Docker-Content-Digest"] == str(digest)
            assert body == (repository.manifests[digest] if method == "GET" else b"")

    @rule(at=repositories, tag=tags)
    def delete_tag(self, at, tag):
        """Only the tag."""
        repository = self.repositories[at]
        if self.dialect.deletes_tags:
            status, _, _ = self.ask("DELETE", f"/v2/{repository.name}/manifests/{tag}")
            assert status == (202 if repository.tags.pop(tag, None) else 404)

    @rule(at=repositories, number=st.integers(0, 9))
    def delete_manifest(self, at, number):
        """With all its tags."""
        repository = self.repositories[at]
        if repository.manifests:
            digest = sorted(repository.manifests)[number % len(repository.manifests)]
            assert self.ask("DELETE", f"/v2/{repository.name}/manifests/{digest}")[0] == 202
            assert self.ask("DELETE", f"/v2/{repository.name}/manifests/{digest}")[0] == 404
            del repository.manifests[digest]
            repository.subjects.pop(digest, None)
            repository.tags = {tag: held for tag, held in repository.tags.items() if held != digest}

    @rule(at=repositories, size=st.none() | st.integers(0, 5), last=st.none() | tags)
    def list_tags(self, at, size, last):
        """Sorted, in pages."""
        repository = self.repositories[at]
        query = {"n": size, "last": last} if self.dialect.pages_tags else {}
        text = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        status, _, body = self.ask("GET", f"/v2/{repository.name}/tags/list?{text}")
        wanted = sorted(repository.tags)
        if query:
            wanted = [tag for tag in wanted if tag > (last or "")][:size]
        if status == 404:
            assert not repository.tags
            is_empty = not repository.manifests and not repository.blobs
            assert is_empty or not self.dialect.knows_empty_repositories
            return
        found = json.loads(body)["tags"] or []
        assert (found if self.dialect.pages_tags else sorted(found)) == wanted

    @invariant()
    def every_tag_leads_somewhere(self):
        """In the model, so that a mistake of the model shows."""
        for repository in getattr(self, "repositories", []):
            assert set(repository.tags.values()) <= set(repository.manifests)

    def teardown(self):
        if hasattr(self, "session"):
            for upload in self.uploads:  # each caller may have a thousand
                self.session("DELETE", upload.location.removeprefix(self.url))
            self.session.close()
