"""
What an ``-o`` may say: the types of outputs, the options of each, and what their values mean.

Names and values are those of docker buildx. What is not known, or what this builder has no use for, is an
error that says what there is. Governing text: "Exporters" in the documentation of Docker Build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oci_image.errors import ImageError
from oci_image.layer.encoders import Encoder, parse_encoder
from oci_image.reference import Reference

from ..errors import InvalidOption, Unsupported
from ..request import Annotation, Output
from .annotations import attribute_annotation

_LAYERS = ("compression", "compression-level", "force-compression", "rewrite-timestamp")
_ARCHIVE = ("name", "dest", "tar", "oci-mediatypes", *_LAYERS)
_IMAGE = (
    *("name", "push", "push-by-digest", "registry.insecure", "store", "oci-mediatypes", *_LAYERS),
    *("name-canonical", "unpack", "oci-artifact", "dangling-name-prefix", "danging-name-empty-only"),
)
KNOWN: Mapping[str, tuple[str, ...]] = {
    "image": _IMAGE,
    "registry": _IMAGE,
    "oci": _ARCHIVE,
    "docker": _ARCHIVE,
    "tar": ("dest", "platform-split"),
    "local": ("dest", "platform-split", "mode"),
    "cacheonly": (),
}
"""The options of each type; those with images take annotations, too."""
_IMAGES = ("image", "registry", "oci", "docker")
_ARCHIVES = ("oci", "docker", "tar")
"""What goes to standard output where no destination is given."""
_MODES = ("", "copy", "delete")
_STDOUT = "-"
_TRUE, _FALSE = ("", "1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """
    One output, its values understood.

    `names` are those that the output gives itself. `compression` is as `parse_encoder` reads it;
    `recompress` is for layers that rest in another form. `docker_types` asks for Docker's media types,
    `clamp` for no time later than the build's. `split` is None where it depends on the number of platforms.
    `delete` removes from a directory what is not of the image. `canonical` also gives the names with the
    digest in place of the tag, `dangling` is what comes before the digest of an image (without any other
    name, if `dangling_only_unnamed`); `unpack` makes it ready to run.
    """

    type: str
    dest: str = ""
    names: tuple[Reference, ...] = ()
    push: bool = False
    by_digest: bool = False
    insecure: bool = False
    store: bool = True
    as_archive: bool = True
    split: bool | None = None
    delete: bool = False
    canonical: bool = False
    dangling: Reference | None = None
    dangling_only_unnamed: bool = False
    unpack: bool = False
    compression: str = "gzip"
    recompress: bool = False
    docker_types: bool = False
    clamp: bool = False
    annotations: tuple[Annotation, ...] = ()

    @property
    def encoder(self) -> Encoder:
        """How layers are compressed."""
        return parse_encoder(self.compression)


def parse_output(text: str) -> Output:
    """
    Read one value of ``-o``: a list of KEY=VALUE, or in short a directory, or "-" for a tar on stdout.

    Raises:
        InvalidOption: it is malformed, or names an unknown type or option.
        Unsupported: it asks for something that is not done.
    """
    from dockerfile_grammar.golang import csv_fields

    where = f"--output {text}"
    try:
        fields = csv_fields(text)
    except ValueError as problem:
        raise InvalidOption(f"{where}: {problem}") from problem
    if fields == [text] and not text.startswith("type="):
        return Output(type="tar", dest="-") if text == "-" else Output(type="local", dest=text)
    values: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise InvalidOption(
                f"{where}: {field!r} is not of the form key=value",
                hint="quote a value with commas as a whole: -o 'type=image,\"name=one,two\"'",
            )
        values[key.strip() if "annotation" in key.lower() else key.strip().lower()] = value
    if "type" not in values:
        raise InvalidOption(
            f"{where}: the type is missing", hint=f"as in type=oci; known: {', '.join(KNOWN)}"
        )
    kind, dest = values.pop("type"), values.pop("dest", "")
    if kind == "docker" and not dest:
        kind = "image"  # what docker loads is in the local store here
    output = Output(type=kind, dest=dest, attributes=values)
    read_options(output, "gzip")
    return output


def read_options(output: Output, compression: str) -> ExportOptions:
    """
    Understand the values of an output.

    Args:
        output: what was asked for.
        compression: of layers, unless the output says otherwise.

    Raises:
        InvalidOption: the type, an option or a value is unknown.
        Unsupported: it asks for something that is not done.
    """
    known = KNOWN.get(output.type)
    if known is None:
        raise InvalidOption(f"--output type={output.type}: expected one of {', '.join(KNOWN)}")
    where = f"--output type={output.type}"
    values = _Values(output.attributes, where)
    _check_names(output, known, where)
    _check_destination(output, values, where)
    if values.flag("oci-artifact"):
        raise Unsupported(
            f"{where}: oci-artifact=true is not supported: there are no attestations to be attached"
        )
    if output.type == "docker":
        # docker load reads uncompressed layers fastest, and docker save writes them so.
        compression = "uncompressed"
    return ExportOptions(
        type=output.type,
        dest=output.dest
        or (_STDOUT if output.type in _ARCHIVES and values.flag("tar", default=True) else ""),
        names=_names(values, where),
        push=values.flag("push", default=output.type == "registry"),
        by_digest=values.flag("push-by-digest"),
        insecure=values.flag("registry.insecure"),
        store=values.flag("store", default=True),
        as_archive=values.flag("tar", default=True),
        split=values.flag("platform-split") if "platform-split" in output.attributes else None,
        delete=_deletes(values, where),
        canonical=values.flag("name-canonical"),
        dangling=_dangling(values, where),
        dangling_only_unnamed=values.flag("danging-name-empty-only"),
        unpack=values.flag("unpack"),
        compression=_compression(values, compression, where),
        recompress=values.flag("force-compression"),
        docker_types=not values.flag("oci-mediatypes", default=True),
        clamp=values.flag("rewrite-timestamp"),
        annotations=_annotations(output, where),
    )


class _Values:
    def __init__(self, values: Mapping[str, str], where: str) -> None:
        self._values = values
        self._where = where

    def text(self, key: str) -> str:
        return self._values.get(key, "")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean; a key without a value means yes."""
        value = self._values.get(key)
        if value is None:
            return default
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        raise InvalidOption(f"{self._where}: {key}={value}: expected true or false")


def _check_names(output: Output, known: tuple[str, ...], where: str) -> None:
    for key, value in output.attributes.items():
        if key in known:
            continue
        if output.type in _IMAGES and attribute_annotation(key, value, f"{where}: {key}") is not None:
            continue
        annotated = " and annotation[-LEVEL][[PLATFORM]].KEY" if output.type in _IMAGES else ""
        raise InvalidOption(
            f"{where}: unknown option {key}", hint=f"it has type, {', '.join(known)}{annotated}"
        )


def _check_destination(output: Output, values: _Values, where: str) -> None:
    if output.type in ("image", "registry"):
        if output.dest:
            raise InvalidOption(f"{where}: an image goes to the store or a registry, not to dest")
        return
    if output.type == "cacheonly":
        if output.dest:
            raise InvalidOption(f"{where}: nothing leaves the build cache, so there is no dest")
        return
    is_directory = output.type == "local" or not values.flag("tar", default=True)
    if is_directory and not output.dest:
        raise InvalidOption(f"{where}: dest=PATH is missing")
    if is_directory and output.dest == _STDOUT:
        raise InvalidOption(f"{where}: a directory cannot go to standard output")


def _deletes(values: _Values, where: str) -> bool:
    mode = values.text("mode")
    if mode not in _MODES:
        raise InvalidOption(f"{where}: mode={mode}: expected copy or delete")
    return mode == "delete"


def _dangling(values: _Values, where: str) -> Reference | None:
    prefix = values.text("dangling-name-prefix")
    if not prefix:
        return None
    try:
        return Reference.parse(prefix)
    except ImageError as problem:
        raise InvalidOption(
            f"{where}: dangling-name-prefix={prefix}: {problem.message}", hint=problem.hint
        ) from problem


def _names(values: _Values, where: str) -> tuple[Reference, ...]:
    names = []
    for text in filter(None, values.text("name").split(",")):
        try:
            name = Reference.parse(text.strip())
        except ImageError as problem:
            raise InvalidOption(f"{where}: name={text}: {problem.message}", hint=problem.hint) from problem
        if name.digest is not None:
            raise InvalidOption(
                f"{where}: name={text}: a name with a digest cannot be given",
                hint="name-canonical=true gives a further name with that of the image",
            )
        names.append(name)
    return tuple(dict.fromkeys(names))


def _compression(values: _Values, default: str, where: str) -> str:
    kind, level = values.text("compression") or default, values.text("compression-level")
    if kind == "estargz":
        raise Unsupported(
            f"{where}: compression=estargz is not supported", hint="use gzip, zstd or uncompressed"
        )
    text = f"{kind.partition(':')[0]}:{level}" if level else kind
    try:
        parse_encoder(text)
    except ImageError as problem:
        raise InvalidOption(f"{where}: {problem.message}", hint=problem.hint) from problem
    return text


def _annotations(output: Output, where: str) -> tuple[Annotation, ...]:
    found = [attribute_annotation(key, value, where) for key, value in output.attributes.items()]
    return tuple(one for one in found if one is not None)
