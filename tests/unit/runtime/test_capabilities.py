"""Capability names, numbers and masks."""

import pytest

from runtime import capabilities as caps


def test_default_mask_is_dockers() -> None:
    """The default set is bit for bit the one programs see under Docker."""
    assert caps.mask_of(caps.DEFAULT_CAPABILITIES) == 0xA80425FB


def test_numbers_are_the_kernels() -> None:
    """A few anchors of linux/capability.h."""
    assert (caps.NUMBERS["CHOWN"], caps.NUMBERS["SYS_ADMIN"], caps.NUMBERS["CHECKPOINT_RESTORE"]) == (
        0,
        21,
        40,
    )


@pytest.mark.parametrize("name", ["NET_ADMIN", "cap_net_admin", "Net_Admin", "CAP_NET_ADMIN"])
def test_spellings(name: str) -> None:
    """The prefix and the case do not matter."""
    assert caps.parse(name) == "NET_ADMIN"


def test_unknown_name() -> None:
    """A name that does not exist is an error."""
    with pytest.raises(ValueError, match="unknown capability 'EVERYTHING'"):
        caps.parse("EVERYTHING")


def test_mask_and_names_are_inverse() -> None:
    """Every single capability survives the way there and back."""
    for name in caps.NUMBERS:
        assert caps.names_of(caps.mask_of([name])) == (name,)


def test_bounding_mask() -> None:
    """Read from the status file; nothing found is nothing held."""
    assert caps.bounding_mask("Name:\tx\nCapBnd:\t000001fffeffffff\n") == 0x1FFFEFFFFFF
    assert caps.bounding_mask("") == 0
