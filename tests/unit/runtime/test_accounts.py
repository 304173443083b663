"""Users come from the image's files, by Docker's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.accounts import AccountUnknown, lookup

PASSWD = """# comment
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
1234:x:77:78::/named:/bin/sh
broken:x:notanumber:1:::
short:x:1
nohome:x:5:5:::
+::::::
"""
GROUP = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:29:app\nbad:x:nan:app\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, (0, 10), "/root")),
        ("root", (0, 0, (0, 10), "/root")),
        ("0", (0, 0, (0, 10), "/root")),
        ("app", (1000, 1001, (10, 29, 1001), "/home/app")),
        ("1000", (1000, 1001, (10, 29, 1001), "/home/app")),
        ("app:root", (1000, 0, (), "/home/app")),
        ("app:29", (1000, 29, (), "/home/app")),
        ("4242", (4242, 0, (0,), "/")),
        ("4242:4343", (4242, 4343, (), "/")),
        ("1234", (77, 78, (78,), "/named")),
        ("nohome", (5, 5, (5,), "/")),
        ("app:", (1000, 1001, (10, 29, 1001), "/home/app")),
        (":app", (0, 1001, (), "/root")),
    ],
)
def test_lookup(user: str, expected: tuple[object, ...]) -> None:
    """Names win over numbers; unknown numbers are fine; a given group ends the others."""
    found = lookup(user, PASSWD, GROUP)
    assert (found.uid, found.gid, found.groups, found.home) == expected


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("joe", "unable to find user joe: no matching entries in passwd file"),
        ("broken", "unable to find user broken"),
        ("-1", "unable to find user -1"),
        ("99999999999", "unable to find user"),
        ("app:nope", "unable to find group nope: no matching entries in group file"),
    ],
)
def test_unknown(user: str, message: str) -> None:
    """A name that is in no file is an error with Docker's sentence."""
    with pytest.raises(AccountUnknown, match=message):
        lookup(user, PASSWD, GROUP)


def test_without_files() -> None:
    """An image without /etc/passwd runs as root or as any number."""
    assert lookup("", "", "").home == "/"
    assert lookup("5:6", "", "").gid == 6


@given(st.text(max_size=10), st.text(max_size=60), st.text(max_size=60))
def test_any_file_is_survived(user: str, passwd: str, group: str) -> None:
    """Whatever an image brings, the answer is an account or the one error."""
    try:
        found = lookup(user, passwd, group)
    except AccountUnknown:
        return
    assert 0 <= found.uid <= 0x7FFFFFFF
    assert 0 <= found.gid <= 0x7FFFFFFF
