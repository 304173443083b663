"""All storages behave alike, whatever happens in which order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oci_image.digest import Digest
from registry.server.store.memory import MemoryStore
from tests.contract.repository_store.storing import manifest, push

REPOSITORIES = st.sampled_from(["a", "a/b", "a-b"])
CONTENTS = st.sampled_from([b"", b"1", b"22"])
TAGS = st.lists(st.sampled_from(["x", "y", "Z"]), max_size=2)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("mount"), REPOSITORIES, CONTENTS, REPOSITORIES),
        st.tuples(st.just("delete blob"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("quarantine"), CONTENTS),
        st.tuples(st.just("put"), REPOSITORIES, CONTENTS, TAGS, st.none() | CONTENTS),
        st.tuples(st.just("delete manifest"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("delete tag"), REPOSITORIES, TAGS),
    ),
    max_size=25,
)


def act(store, action, *arguments):
    match action, arguments:
        case "push", (repository, content):
            return push(store, repository, content)
        case "mount", (repository, content, source):
            return store.blobs.mount(repository, Digest.of(content), source)
        case "delete blob", (repository, content):
            return store.blobs.delete(repository, Digest.of(content))
        case "quarantine", (content,):
            return store.blobs.quarantine(Digest.of(content))
        case "put", (repository, content, tags, subject):
            made = manifest(content + b"m", None if subject is None else Digest.of(subject))
            return store.manifests.put(repository, made, tags)
        case "delete manifest", (repository, content):
            return store.manifests.delete(repository, Digest.of(content + b"m"))
        case "delete tag", (repository, tags):
            return [store.tags.delete(repository, tag) for tag in tags]
    raise AssertionError(action)


def everything(store):
    seen = [list(store.tags.repositories())]
    for repository in ("a", "a/b", "a-b"):
        names = store.tags.names(repository)
        seen.append(names and {name: store.tags.get(repository, name) for name in names})
        for content in (b"", b"1", b"22"):
            digest = Digest.of(content)
            seen += [
                store.blobs.stat(repository, digest),
                store.manifests.get(repository, Digest.of(content + b"m")),
                list(store.manifests.referrers(repository, digest)),
                sorted(store.blobs.holders(digest)),
            ]
    return seen


@pytest.mark.parametrize(("kind", "examples"), [("filesystem", 20), ("bucket", 25), ("s3", 3)])
def test_a_storage_behaves_like_memory(tmp_path_factory, opened_by_kind, kind, examples):
    """After any history both give the same results and hold the same content, also after a restart."""

    @settings(max_examples=examples, deadline=None)
    @given(actions=ACTIONS)
    def compare(actions):
        place = opened_by_kind(kind, tmp_path_factory.mktemp("store"))
        memory, other = MemoryStore(), place.open()
        for action in actions:
            assert act(memory, *action) == act(other, *action), action
            assert everything(memory) == everything(other), action
        other.close()
        again = place.open()
        assert everything(memory) == everything(again)
        again.close()
        place.lose_index()
        rebuilt = place.open()
        if not any(action[0] == "quarantine" for action in actions):  # content that is gone leaves no trace
            assert everything(memory) == everything(rebuilt)
        rebuilt.close()

    compare()
