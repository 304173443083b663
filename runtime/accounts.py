"""
Users and groups of a root file system, read from its own /etc/passwd and /etc/group.

Never the host's name services: an image's users are data of the image. Pure text in, numbers out; the
grammar is the one of the `USER` instruction, `user[:group]`, each a name or a number. Standard library only.
"""

LARGEST_ID = 0x7FFFFFFF
READ_LIMIT = 16 << 20


class AccountUnknown(Exception):
    """The user or group is not in the files; the message is ready for people."""


class Account:
    """Who a program runs as."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def _rows(text: str, width: int) -> list[list[str]]:
    rows = [line.strip().split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= width and row[0] and not row[0].startswith("#")]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) <= LARGEST_ID else None


def lookup(user: str, passwd: str, group: str) -> Account:
    """
    Return the account that `user` names, "" meaning root.

    A number that is in no file is accepted with group 0 and home `/`. Supplementary groups are read only
    when no group is given. Raise `AccountUnknown` for a name that is not in the files.
    """
    name, separator, group_name = user.partition(":")
    name = name or "0"
    row = _user_row(name, passwd)
    number = _number(name)
    if row is not None:
        uid, gid, home, login = int(row[2]), int(row[3]), row[5] or "/", row[0]
    elif number is not None:
        uid, gid, home, login = number, 0, "/", ""
    else:
        raise AccountUnknown(f"unable to find user {name}: no matching entries in passwd file")
    if separator and group_name:
        return Account(uid, _group(group_name, group), (), home)
    return Account(uid, gid, _memberships(login, gid, group), home)


def _user_row(name: str, passwd: str) -> list[str] | None:
    number = _number(name)
    rows = [row for row in _rows(passwd, 6) if _number(row[2]) is not None and _number(row[3]) is not None]
    for row in rows:
        # A name wins over a number: a user may be called "1000".
        if row[0] == name:
            return row
    for row in rows:
        if number is not None and int(row[2]) == number:
            return row
    return None


def _group(name: str, group: str) -> int:
    rows = [row for row in _rows(group, 3) if _number(row[2]) is not None]
    for row in rows:
        if row[0] == name:
            return int(row[2])
    number = _number(name)
    if number is None:
        raise AccountUnknown(f"unable to find group {name}: no matching entries in group file")
    return number


def _memberships(login: str, gid: int, group: str) -> tuple[int, ...]:
    found = {gid}
    for row in _rows(group, 4):
        number = _number(row[2])
        if login and number is not None and login in row[3].split(","):
            found.add(number)
    return tuple(sorted(found))
