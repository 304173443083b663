"""Seals: by which the blocks of a blob are verified again."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed
from registry.server import proving
from registry.server.proving import FileProof, Proof, prove_all
from registry.server.sealing import BLOCK, Seal, Seals

SIZES = [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]


def blocks_of(data):
    return [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]


def sealed(seals, data):
    digest = Digest.of(data)
    prove_all(Proof(digest, len(data), seals), io.BytesIO(data))
    return digest


def test_a_seal_tells_blocks_apart():
    seals = Seals()
    sealer = seals.sealer()
    for block in (b"one", b"two"):
        sealer.add(block)
    seal = sealer.seal()
    assert seals.holds(seal, 0, b"one")
    assert seals.holds(seal, 1, b"two")
    assert not seals.holds(seal, 0, b"two")
    assert not seals.holds(seal, 1, b"one")
    assert not seals.holds(seal, 2, b"")
    assert not seals.holds(seal, 0, b"")


def test_each_process_and_each_blob_has_tags_of_its_own():
    def seal_of(seals):
        sealer = seals.sealer()
        sealer.add(b"one")
        return sealer.seal()

    seals, others = Seals(), Seals()
    first, second = seal_of(seals), seal_of(seals)
    assert first.tags != second.tags
    assert not others.holds(first, 0, b"one")
    assert seals.holds(first, 0, b"one")
    assert seals.holds(second, 0, b"one")


@given(st.binary(min_size=1, max_size=200), st.data())
def test_every_flipped_bit_is_found(data, draw):
    seals = Seals()
    sealer = seals.sealer()
    sealer.add(data)
    where = draw.draw(st.integers(0, len(data) * 8 - 1))
    flipped = bytearray(data)
    flipped[where // 8] ^= 1 << where % 8
    assert seals.holds(sealer.seal(), 0, data)
    assert not seals.holds(sealer.seal(), 0, flipped)


def test_the_record_is_bounded():
    seals = Seals(limit=64)
    digests = [Digest.of(bytes([number])) for number in range(6)]
    for digest in digests[:4]:
        seals.add(digest, Seal(b"", bytes(16)))
    assert seals.find(digests[0]) is not None  # used, so another one goes first
    seals.add(digests[4], Seal(b"", bytes(32)))
    assert [seals.find(digest) is not None for digest in digests] == [True, False, False, True, True, False]
    seals.add(digests[4], Seal(b"", bytes(16)))
    assert len(seals) == 3
    seals.add(digests[5], Seal(b"", bytes(80)))
    assert len(seals) == 0


@given(st.lists(st.integers(0, 2 * BLOCK + 3), max_size=8))
def test_bytes_that_come_in_pieces(lengths):
    """They are sealed as the same bytes in whole blocks are."""
    seals = Seals()
    data = os.urandom(sum(lengths))
    sealer = seals.sealer()
    start = 0
    for length in lengths:
        sealer.update(data[start : start + length])
        start += length
    assert sealer.size == len(data)
    seal = sealer.seal()
    assert len(seal.tags) == 16 * len(blocks_of(data))
    assert all(seals.holds(seal, number, block) for number, block in enumerate(blocks_of(data)))


def test_an_upload_is_sealed_while_it_comes():
    """Its seal is there once, for exactly what came."""
    seals = Seals()
    data = os.urandom(2 * BLOCK + 5)
    seals.extend("u", 0, [data[:10], data[10:BLOCK]])
    seals.extend("u", BLOCK, [data[BLOCK:]])
    seals.extend("v", 0, [b"other"])
    seal = seals.finish("u", len(data))
    assert seal is not None
    assert all(seals.holds(seal, number, block) for number, block in enumerate(blocks_of(data)))
    assert seals.finish("u", len(data)) is None
    assert len(seals) == 1
    assert seals.finish("v", 5) is None  # it is verified as a whole
    assert len(seals) == 0


@pytest.mark.parametrize("start", [BLOCK, 3 * BLOCK], ids=["cut", "gap"])
def test_an_upload_of_which_not_all_was_sealed(start):
    """It was cut, or another process went on with it: then nothing that follows makes a seal."""
    seals = Seals()
    seals.extend("u", 0, [bytes(2 * BLOCK)])
    assert seals.finish("u", 2 * BLOCK + 1) is None
    seals.extend("u", 0, [bytes(2 * BLOCK)])
    seals.extend("u", start, [bytes(BLOCK)])
    seals.extend("u", start + BLOCK, [bytes(BLOCK)])
    assert seals.finish("u", start + 2 * BLOCK) is None
    seals.extend("u", BLOCK, [bytes(BLOCK)])  # whose beginning an earlier process has
    assert len(seals) == 0


def test_uploads_count_for_the_limit():
    """What was not used for longest goes, whether a blob or an upload, also one that goes on."""
    seals = Seals(limit=4096)
    digest = Digest.of(b"old")
    seals.add(digest, Seal(b"", bytes(1040)))
    for name in "abc":
        seals.extend(name, 0, [b"x"])
    assert seals.find(digest) is None
    assert len(seals) == 3
    seals.extend("a", 1, [bytes(BLOCK)] * 100)
    assert seals.finish("b", 1) is None
    assert seals.finish("a", 100 * BLOCK + 1) is not None
    assert len(seals) == 1
    seals.extend("d", 0, [bytes(BLOCK)] * 300)  # more than all may have
    assert len(seals) == 0
    assert seals.finish("d", 300 * BLOCK) is None


@pytest.mark.parametrize("size", SIZES)
def test_proving_a_blob(size):
    """The first time by the digest, then block by block."""
    seals = Seals()
    data = os.urandom(size)
    digest = sealed(seals, data)
    proof = Proof(digest, size, seals)
    assert proof.is_sealed
    assert not proof.is_done
    assert [proof.take(block) for block in blocks_of(data)] == [
        min(size, (number + 1) * BLOCK) for number in range(len(blocks_of(data)))
    ]
    assert proof.is_done


@pytest.mark.parametrize("again", [False, True], ids=["first", "sealed"])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_damaged_is_not_proved(size, again):
    seals = Seals()
    data = os.urandom(size)
    digest = sealed(seals, data) if again else Digest.of(data)
    wrong = bytearray(data)
    wrong[-1] ^= 1
    proof = Proof(digest, size, seals)
    *blocks, last = blocks_of(bytes(wrong))
    for block in blocks:
        proof.take(block)
    with pytest.raises(VerificationFailed):
        proof.take(last)
    assert (seals.find(digest) is not None) == again


@pytest.mark.parametrize("again", [False, True], ids=["first", "sealed"])
@pytest.mark.parametrize("change", [-1, 1, -BLOCK, BLOCK])
def test_a_file_of_another_length(tmp_path, again, change):
    seals = Seals()
    data = os.urandom(2 * BLOCK)
    digest = sealed(seals, data) if again else Digest.of(data)
    (tmp_path / "blob").write_bytes((data + bytes(BLOCK))[: len(data) + change])
    with (tmp_path / "blob").open("rb") as file, pytest.raises(VerificationFailed):
        prove_all(Proof(digest, len(data) + max(0, change), seals), file)
    if change < 0:
        with (tmp_path / "blob").open("rb") as file, pytest.raises(VerificationFailed):
            FileProof(Proof(digest, len(data), seals), file).advance(3)


def test_what_is_at_hand(tmp_path):
    """Blocks that the kernel has are verified; the rest has to be waited for."""
    seals = Seals()
    data = os.urandom(5 * BLOCK + 3)
    digest = sealed(seals, data)
    (tmp_path / "blob").write_bytes(data)
    with (tmp_path / "blob").open("rb") as file:
        reader = FileProof(Proof(digest, len(data), seals), file)
        memory = bytearray(BLOCK)
        ready = reader.advance_at_hand(2, memory)
        assert ready in (0, BLOCK, 2 * BLOCK)  # a file system may not be able to tell
        assert reader.advance(1) == ready + BLOCK
        assert reader.advance(9) == len(data)
        assert reader.advance_at_hand(1, memory) == reader.advance(1) == len(data)


def test_where_nothing_tells_what_is_at_hand(tmp_path, monkeypatch):
    """Then nothing is: the event loop must not wait for a disk."""
    monkeypatch.setattr(proving, "_AT_HAND", None)
    seals = Seals()
    data = os.urandom(3 * BLOCK)
    digest = sealed(seals, data)
    (tmp_path / "blob").write_bytes(data)
    with (tmp_path / "blob").open("rb") as file:
        reader = FileProof(Proof(digest, len(data), seals), file)
        assert reader.advance(1) == BLOCK
        assert reader.advance_at_hand(2, bytearray(BLOCK)) == BLOCK
        assert reader.advance(2) == len(data)
