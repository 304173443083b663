"""A verification counts for one content and for a time."""

import io
import os

from oci_image.digest import Digest
from registry.server import verification
from registry.server.verification import VerifiedBlobs, identity

D = Digest.of(b"x")


def test_a_verification_expires():
    """After the window the content must be looked at again."""
    now = [0.0]
    verified = VerifiedBlobs(10, lambda: now[0])
    assert not verified.holds(D, None)
    verified.add(D, None)
    assert verified.holds(D, None)
    now[0] = 10.0
    assert not verified.holds(D, None)
    verified.add(D, None)
    verified.remove(D)
    verified.remove(D)
    assert not verified.holds(D, None)


def test_changed_content_is_not_verified(tmp_path):
    """Another file, another size or another time of change is other content."""
    verified = VerifiedBlobs(10)
    path = tmp_path / "x"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        before = identity(file)
    verified.add(D, before)
    assert verified.holds(D, before)
    path.write_bytes(b"y")
    os.utime(path, ns=(1, 1))
    with path.open("rb") as file:
        assert not verified.holds(D, identity(file))
    assert identity(io.BytesIO()) is None


def test_the_record_is_bounded(monkeypatch):
    """The oldest verification is forgotten first."""
    monkeypatch.setattr(verification, "_LIMIT", 2)
    verified = VerifiedBlobs(10)
    digests = [Digest.of(bytes([number])) for number in range(3)]
    for digest in digests:
        verified.add(digest, None)
    assert [verified.holds(digest, None) for digest in digests] == [False, True, True]


def test_what_expired_takes_no_memory():
    """It goes as soon as others come, also when the window is nothing."""
    now = [0.0]
    verified = VerifiedBlobs(10, lambda: now[0])
    for number in range(50):
        now[0] = float(number)
        verified.add(Digest.of(bytes([number])), None)
    assert len(verified) == 10
    now[0] = 1000.0
    verified.add(D, None)
    assert len(verified) == 1
    never = VerifiedBlobs(0, lambda: now[0])
    never.add(D, None)
    assert len(never) == 0
