"""What every tag store guarantees."""

from __future__ import annotations

import threading
from dataclasses import replace

from oci_image import mediatypes
from oci_image.platform import Platform
from tests.contract.image_store.names import APP, CONTAINERD_NAME, LOCAL, ONE, REF_NAME, TWO, descriptor


def test_unknown_names(tag_store):
    """A name that was never set is absent, also before the store exists."""
    assert tag_store.get(APP) is None
    assert tag_store.delete(APP) is False
    assert list(tag_store.items()) == []


def test_name_is_found(tag_store):
    """A name stands for its descriptor."""
    tag_store.set(APP, ONE)
    assert tag_store.get(APP) == ONE
    assert tag_store.get(LOCAL) is None
    assert tag_store.get("docker.io/library/app:2") is None


def test_descriptor_comes_back_whole(tag_store):
    """Media type, platform, annotations and artifact type are kept."""
    full = descriptor(
        "full",
        media_type=mediatypes.DOCKER_MANIFEST_LIST,
        platform=Platform(os="linux", architecture="arm", variant="v7"),
        annotations={"org.example": "ä \U0001f680"},
        artifact_type="application/x.example",
    )
    tag_store.set(APP, full)
    assert tag_store.get(APP) == full
    assert dict(tag_store.items()) == {APP: full}


def test_naming_annotations_belong_to_the_store(tag_store):
    """A descriptor that was named elsewhere takes the new name, and comes back without one."""
    tag_store.set(APP, replace(ONE, annotations={REF_NAME: "other", CONTAINERD_NAME: LOCAL, "a": "b"}))
    assert tag_store.get(APP) == replace(ONE, annotations={"a": "b"})
    assert tag_store.get(LOCAL) is None


def test_name_moves(tag_store):
    """Setting a name again moves it."""
    tag_store.set(APP, ONE)
    tag_store.set(APP, TWO)
    assert list(tag_store.items()) == [(APP, TWO)]


def test_names_are_sorted_and_independent(tag_store):
    """Several names may stand for one descriptor; deleting one keeps the others."""
    for name in (LOCAL, APP, "docker.io/library/app:latest"):
        tag_store.set(name, ONE)
    assert [name for name, _ in tag_store.items()] == [APP, "docker.io/library/app:latest", LOCAL]
    assert tag_store.delete(APP) is True
    assert tag_store.delete(APP) is False
    assert tag_store.get(APP) is None
    assert tag_store.get(LOCAL) == ONE


def test_items_is_a_picture_of_one_moment(tag_store):
    """Names may be changed while they are listed."""
    for number in range(5):
        tag_store.set(f"docker.io/library/app:{number}", ONE)
    for name, found in tag_store.items():
        assert found == ONE
        tag_store.delete(name)
    assert list(tag_store.items()) == []


def test_threads_change_names_at_once(tag_store):
    """No change is lost, and readers always see one of the descriptors that were set."""
    allowed = {ONE.digest, TWO.digest}
    wrong = []

    def work(number: int) -> None:
        for _ in range(10):
            tag_store.set(APP, (ONE, TWO)[number % 2])
            tag_store.set(f"docker.io/library/own:{number}", ONE)
            found = tag_store.get(APP)
            if found is None or found.digest not in allowed:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [name for name, _ in tag_store.items()] == [
        APP,
        *(f"docker.io/library/own:{number}" for number in range(8)),
    ]
