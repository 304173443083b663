"""Passwords are checked in constant effort, and the file is followed."""

import builtins
import contextlib
import os

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidConfiguration
from registry.server.htpasswd import PasswordFile, parse


def line(user, password):
    return f"{user}:{bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()}\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "htpasswd"
    file.write_text("# users\n\n" + line("alice", "secret") + line("bob", "x" * 100))
    return file


async def test_right_and_wrong_passwords(path):
    """Only the user's own password is right; long ones count up to bcrypt's limit."""
    passwords = PasswordFile(str(path))
    assert await passwords.check("alice", "secret")
    assert await passwords.check("alice", "secret")
    assert not await passwords.check("alice", "Secret")
    assert not await passwords.check("alice", "")
    assert not await passwords.check("alice", "sec\0ret")
    assert not await passwords.check("nobody", "secret")
    assert await passwords.check("bob", "x" * 100)
    assert not await passwords.check("bob", "secret")


async def test_a_success_is_remembered_for_a_while(path, monkeypatch):
    """The costly comparison is not repeated for every request; a failure is never remembered."""
    now = [0.0]
    passwords = PasswordFile(str(path), lambda: now[0])
    compared = []
    compare = passwords._compare
    monkeypatch.setattr(passwords, "_compare", lambda *a: compared.append(a) or compare(*a))
    for _ in range(5):
        assert await passwords.check("alice", "secret")
    assert len(compared) == 1
    now[0] = 301.0
    assert await passwords.check("alice", "secret")
    assert len(compared) == 2
    for _ in range(2):
        assert not await passwords.check("alice", "wrong")
    assert len(compared) == 4


async def test_an_unknown_user_costs_as_much(path, monkeypatch):
    """There is a comparison, with a hash of the same cost."""
    passwords = PasswordFile(str(path))
    compared = []
    monkeypatch.setattr(passwords, "_compare", lambda _secret, encoded: bool(compared.append(encoded)))
    await passwords.check("nobody", "x")
    await passwords.check("alice", "x")
    assert compared[0][:7] == compared[1][:7]


async def test_a_changed_file_counts_at_once(path, caplog):
    """New entries are used, removed ones are not; a broken file changes nothing."""
    passwords = PasswordFile(str(path))
    assert await passwords.check("alice", "secret")
    path.write_text(line("carol", "new"))
    os.utime(path, ns=(1, 1))
    assert not await passwords.check("alice", "secret")
    assert await passwords.check("carol", "new")
    path.write_text("broken")
    assert await passwords.check("carol", "new")
    path.unlink()
    assert await passwords.check("carol", "new")
    assert "stay in force" in caplog.text


@pytest.mark.parametrize(
    "text", ["alice", "alice:{SHA}abc", "alice:$apr1$x", ":$2y$05$" + "x" * 53, "alice:$2y$05$short"]
)
def test_other_entries_are_refused(text):
    """Only bcrypt; the message names the line."""
    with pytest.raises(InvalidConfiguration, match="line 1 "):
        parse(text)


@given(st.text(max_size=100))
def test_any_text_is_parsed_or_refused(text):
    """Nothing else can happen."""
    with contextlib.suppress(InvalidConfiguration):
        parse(text)


def test_a_missing_file_is_refused(tmp_path):
    """At the start, with its name."""
    with pytest.raises(InvalidConfiguration, match="cannot read"):
        PasswordFile(str(tmp_path / "none"))


def test_without_bcrypt_the_extra_is_named(path, monkeypatch):
    """The message says what to install."""
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "bcrypt":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InvalidConfiguration, match="bcrypt") as caught:
        PasswordFile(str(path))
    assert "pybuild[htpasswd]" in caught.value.hint
