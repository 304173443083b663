"""The differences to Debian's docker-registry (2.8.2) that are meant, each with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """
    A difference that is meant.

    Attributes:
        requests: In which it is seen, every one of them.
        pattern: What every line of it matches.
        reason: Why ours stays as it is.
    """

    requests: tuple[str, ...]
    pattern: str
    reason: str


ROWS = (
    Row(
        ("base by POST",),
        r"status: 405, theirs 200",
        "Only GET and HEAD are defined for /v2/.",
    ),
    Row(
        ("an address of nobody", "an address below /v2/", "a method of nobody on manifests"),
        r"codes: UNSUPPORTED, theirs $",
        "The distribution-spec gives every 4xx the JSON form; theirs is plain text.",
    ),
    Row(
        ("an upload in one request",),
        r"status: 400, theirs 202",
        "POST with a digest carries the whole blob (distribution-spec); this body has other bytes.",
    ),
    Row(
        ("chunks: a gap", "chunks: a replay"),
        r"status: 416, theirs 202",
        "A chunk out of order must be refused with 416 (distribution-spec); theirs appends it to the blob.",
    ),
    Row(
        ("chunks: a range as in downloads",),
        r"status: 400, theirs 202",
        "Content-Range of a chunk is <start>-<end>, without a unit (distribution-spec).",
    ),
    Row(
        ("an upload that never was",),
        r"codes: BLOB_UPLOAD_UNKNOWN, theirs BLOB_UPLOAD_INVALID",
        "The code for an unknown upload is BLOB_UPLOAD_UNKNOWN (distribution-spec).",
    ),
    Row(
        ("a method of nobody on uploads",),
        r"status: 405, theirs 404",
        "The address exists, the method does not (RFC 9110, 405).",
    ),
    Row(
        ("an upload with a bad name", "a bad name"),
        r"status: 400, theirs 404",
        "NAME_INVALID says what is wrong; theirs does not find a route.",
    ),
    Row(
        ("longer: sha512",),
        r"(Docker-Content-Digest|Location): .*sha512:.*, theirs .*sha256:",
        "A blob is known by the digest that its client chose (distribution-spec: sha512 is registered).",
    ),
    Row(
        ("a part beyond the end", "a part backwards"),
        r"(codes: RANGE_INVALID, theirs $|Docker-Content-Digest: None, theirs |Content-Range: bytes \*/)",
        "A 416 carries the error and the size; theirs announces the whole body and then ends early.",
    ),
    Row(
        ("a part of other units",),
        r"status: 200, theirs 416",
        "A range in a unit that nobody knows is ignored (RFC 9110, 14.2).",
    ),
    Row(
        ("mount without a source",),
        r"status: 201, theirs 202",
        "from may be left out, and the registry looks for itself (distribution-spec 1.1).",
    ),
    Row(
        ("an artifact with a subject",),
        r"OCI-Subject: sha256:.*, theirs None",
        "Manifests with a subject are answered with OCI-Subject (distribution-spec 1.1).",
    ),
    Row(
        ("an image with a wrong size",),
        r"status: 400, theirs 201",
        "containerd and podman fail to pull what states a wrong size.",
    ),
    Row(
        ("no manifest",),
        r"status: 400, theirs 500",
        "A bad document is the client's mistake.",
    ),
    Row(
        ("an image without a type",),
        r"status: 201, theirs 400",
        "The document says its type itself (mediaType).",
    ),
    Row(
        ("a bad tag",),
        r"status: 400, theirs 404",
        "TAG_INVALID says what is wrong; theirs does not find a route.",
    ),
    Row(
        ("several tags",),
        r"OCI-Tag: t1, theirs None",
        "One push may set several tags (distribution-spec 1.1+dev).",
    ),
    Row(
        ("the image for anybody",),
        r"status: 200, theirs 404",
        "Accept: */* accepts OCI manifests as well (RFC 9110, 12.5.1).",
    ),
    Row(
        ("a bad digest", "a blob as a manifest"),
        r"status: 40[04], theirs 500",
        "Nothing that a client sends is an error of the server.",
    ),
    Row(
        ("an image that is known",),
        r"Docker-Content-Digest: sha256:.*, theirs None",
        "A 304 has the headers of the 200 that it stands for.",
    ),
    Row(
        ("tags", "tags afterwards"),
        r"body: .*'tags': \[.*, theirs ",
        "Tags are sorted; one push set t1 and t2, one was deleted, and nothing broken was taken.",
    ),
    Row(
        ("a page of tags", "the next page of tags", "no tags"),
        r"(body: .*, theirs |Link: </v2/a/tags/list\?last=.*, theirs None)",
        "Lists of tags come in pages (distribution-spec); theirs ignores n and last.",
    ),
    Row(
        ("a bad number of tags", "a bad number of the catalog"),
        r"status: 400, theirs 200",
        "PAGINATION_NUMBER_INVALID is the answer to a bad n.",
    ),
    Row(
        ("the catalog", "a page of the catalog"),
        r"(body: .*\['a'\]\}, theirs .*\['a', 'b'\]|Link: None, theirs )",
        "A repository without a manifest is not listed; theirs lists what only had a blob.",
    ),
    Row(
        ("referrers",),
        r"status: 200, theirs 404",
        "The API for referrers came with distribution-spec 1.1.",
    ),
    Row(
        ("tags of a repository with blobs only",),
        r"status: 200, theirs 404",
        "A repository exists when it has anything; its list of tags is empty.",
    ),
    Row(
        ("deleting a tag",),
        r"status: 202, theirs 400",
        "Tags may be deleted by their names (distribution-spec 1.0).",
    ),
    Row(
        ("deleting an absent tag",),
        r"status: 404, theirs 400",
        "Tags may be deleted by their names (distribution-spec 1.0).",
    ),
    Row(
        ("two slashes", "dots", "encoded dots"),
        r"status: 400, theirs 301",
        "A path is taken as it is; a redirect to a cleaned one hides mistakes and worse.",
    ),
    Row(
        ("an encoded slash",),
        r"codes: UNSUPPORTED, theirs NAME_UNKNOWN",
        "A name is never decoded: %2f is no slash, so this is no address of a repository.",
    ),
    Row(
        ("a name that is too long",),
        r"status: 400, theirs 500",
        "Names have at most 255 characters.",
    ),
    Row(
        ("no slash at the end",),
        r"status: 200, theirs 301",
        "Some clients leave the slash away and do not follow redirects.",
    ),
)
