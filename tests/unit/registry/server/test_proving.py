"""Several clients who pull the same file at the same time: its digest is computed once, and each is safe."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed
from registry.server.proving import Company, FileProof, Proof
from registry.server.sealing import BLOCK, Seals

DATA = os.urandom(3 * BLOCK + 7)
BLOCKS = [DATA[start : start + BLOCK] for start in range(0, len(DATA), BLOCK)]
DIGEST = Digest.of(DATA)


def flipped(block):
    return bytes([block[0] ^ 1]) + block[1:]


def test_the_digest_is_computed_once(hashed):
    """Whoever is ahead computes it, and that changes."""
    seals = Seals()
    company = Company(DIGEST, len(DATA), seals)
    first, second = (Proof(DIGEST, len(DATA), seals, company) for _ in range(2))
    order = [first, first, second, second, second, first, second, first]
    for proof, number in zip(order, [0, 1, 0, 1, 2, 2, 3, 3], strict=True):
        proof.take(BLOCKS[number])
    assert first.is_done
    assert second.is_done
    assert hashed == [len(block) for block in BLOCKS]
    assert first.is_sealed
    assert seals.find(DIGEST) is not None


def test_who_follows_gets_what_went_into_the_digest(hashed):
    """Other bytes are refused where they are, and harm nobody else."""
    seals = Seals()
    company = Company(DIGEST, len(DATA), seals)
    first, second = (Proof(DIGEST, len(DATA), seals, company) for _ in range(2))
    first.take(BLOCKS[0])
    first.take(BLOCKS[1])
    second.take(BLOCKS[0])
    with pytest.raises(VerificationFailed):
        second.take(flipped(BLOCKS[1]))
    for block in BLOCKS[2:]:
        first.take(block)
    assert first.is_done
    assert sum(hashed) == len(DATA)


def test_nobody_gets_the_last_block_of_what_is_damaged():
    """Whoever put the wrong block into the digest."""
    seals = Seals()
    company = Company(DIGEST, len(DATA), seals)
    first, second = (Proof(DIGEST, len(DATA), seals, company) for _ in range(2))
    for proof in (first, second):
        proof.take(BLOCKS[0])
        proof.take(flipped(BLOCKS[1]))
        proof.take(BLOCKS[2])
    for proof in (first, second, second):
        with pytest.raises(VerificationFailed):
            proof.take(BLOCKS[3])
        assert not proof.is_done
    assert seals.find(DIGEST) is None


def test_many_threads_compute_one_digest(hashed):
    seals = Seals()
    company = Company(DIGEST, len(DATA), seals)

    def take_all(_number):
        proof = Proof(DIGEST, len(DATA), seals, company)
        return [proof.take(block) for block in BLOCKS][-1]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(take_all, range(32))) == [len(DATA)] * 32
    assert sum(hashed) == len(DATA)


def test_a_block_that_was_right_a_moment_ago(tmp_path):
    """Is so for others who send the same file now, and for nobody later."""
    now = [100.0]
    seals = Seals()
    sealer = seals.sealer()
    for block in BLOCKS:
        sealer.add(block)
    seals.add(DIGEST, sealer.seal())
    company = Company(DIGEST, len(DATA), seals, clock=lambda: now[0])
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    with path.open("rb") as file:

        def reader():
            return FileProof(Proof(DIGEST, len(DATA), seals, company), file)

        assert reader().advance(2) == 2 * BLOCK
        path.write_bytes(flipped(BLOCKS[0]) + DATA[BLOCK : 2 * BLOCK] + bytes(len(DATA) - 2 * BLOCK))
        follower = reader()
        assert follower.advance(2) == 2 * BLOCK  # those were not read again
        with pytest.raises(VerificationFailed):
            follower.advance(1)
        now[0] += 0.1
        with pytest.raises(VerificationFailed):
            reader().advance(1)
        alone = FileProof(Proof(DIGEST, len(DATA), seals), file)
        with pytest.raises(VerificationFailed):
            alone.advance(1)


def test_without_a_seal_every_block_is_read(tmp_path):
    """Nobody knows yet that a block which went into the digest is right."""
    seals = Seals()
    company = Company(DIGEST, len(DATA), seals)
    (tmp_path / "blob").write_bytes(DATA)
    with (tmp_path / "blob").open("rb") as file:
        assert FileProof(Proof(DIGEST, len(DATA), seals, company), file).advance(1) == BLOCK
        assert Proof(DIGEST, len(DATA), seals, company).skip() == 0


def test_what_is_remembered_of_blocks_is_little():
    """Only those of a moment."""
    now = [0.0]
    company = Company(DIGEST, len(DATA), Seals(), clock=lambda: now[0])
    for number in range(1000):
        now[0] += 0.01
        company.note(number)
    assert sum(company.knows(number) for number in range(1000)) <= 6
    assert len(company._right) <= 6
