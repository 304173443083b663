"""``pybuild login``: check and keep the credentials of a registry, where docker keeps them."""

from __future__ import annotations

import asyncio
import getpass
import sys

from oci_image.reference import DEFAULT_REGISTRY

from ...errors import InvalidOption
from ..options import verb
from ..settings import Settings
from ..transfers import credential_store, transport_options


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("login", "Log in to a registry.", usage="[OPTIONS] [SERVER]", root=False)
    p.add_argument(
        "server", nargs="?", default=DEFAULT_REGISTRY, metavar="SERVER", help="default: Docker Hub"
    )
    p.add_argument("-u", "--username", metavar="NAME", help="user name")
    p.add_argument("-p", "--password", metavar="TEXT", help="password (visible to others on this machine)")
    p.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    args = p.parse_args(arguments)
    settings = Settings.read()
    if args.password and args.password_stdin:
        raise InvalidOption("--password and --password-stdin exclude each other")
    username, password = _ask(args)
    asyncio.run(_login(settings, args.server, username, password))
    print("Login Succeeded", file=sys.stderr)
    return 0


async def _login(settings: Settings, server: str, username: str, password: str) -> None:
    from registry.client.credentials import Credentials
    from registry.client.transfer import login

    credentials = Credentials(username=username, password=password)
    await login(server, credentials, transport_options(settings))
    credential_store(settings).store(server, credentials)


def _ask(args: object) -> tuple[str, str]:
    username: str | None = args.username  # type: ignore[attr-defined]
    password: str | None = args.password  # type: ignore[attr-defined]
    if args.password_stdin:  # type: ignore[attr-defined]
        if not username:
            raise InvalidOption("--password-stdin needs --username")
        password = sys.stdin.readline().rstrip("\r\n")
    if (not username or not password) and not sys.stdin.isatty():
        raise InvalidOption("nobody to ask for the password", hint="use --username and --password-stdin")
    username = username or input("Username: ").strip()
    password = password or getpass.getpass("Password: ")
    if not username or not password:
        raise InvalidOption("user name and password must not be empty")
    return username, password
