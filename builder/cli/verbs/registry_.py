"""``pybuild registry``: serve a registry until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys

from ...errors import InvalidOption
from ..options import verb
from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Run the verb."""
    p = verb("registry", "Serve a registry (OCI distribution API) over HTTP.", usage="[OPTIONS]", root=False)
    p.add_argument("--listen", default="127.0.0.1:5000", metavar="ADDRESS:PORT", help="port 0: any free one")
    p.add_argument("--root", metavar="DIR", help="where the content rests (default: registry/ in the store)")
    p.add_argument("--memory", action="store_true", help="keep everything in memory")
    p.add_argument("--read-only", action="store_true", help="refuse pushes and deletions")
    p.add_argument("--no-delete", action="store_true", help="refuse deletions")
    p.add_argument("--sparse", action="store_true", help="accept manifests whose parts are not here")
    p.add_argument("--access-log", action="store_true", help="write a line for each request to stderr")
    p.add_argument("--htpasswd", metavar="FILE", help="users and bcrypt passwords")
    p.add_argument("--anonymous-pull", action="store_true", help="with --htpasswd: pulls need no password")
    p.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM)")
    p.add_argument("--tls-key", metavar="FILE", help="key of the certificate (PEM)")
    args = p.parse_args(arguments)
    from registry.server.config import AnonymousAuth, BasicAuth, RegistryConfig, TlsFiles, TokenAuth
    from registry.server.serve import serve

    if bool(args.tls_cert) != bool(args.tls_key):
        raise InvalidOption("--tls-cert and --tls-key belong together")
    if args.anonymous_pull and not args.htpasswd:
        raise InvalidOption(
            "--anonymous-pull needs --htpasswd", hint="without it everybody may do everything"
        )
    if args.memory and args.root:
        raise InvalidOption("--memory and --root exclude each other")
    host, port = _listen(args.listen)
    auth: AnonymousAuth | BasicAuth | TokenAuth = AnonymousAuth()
    if args.anonymous_pull:
        auth = TokenAuth(htpasswd=args.htpasswd, anonymous_pull=True)
    elif args.htpasswd:
        auth = BasicAuth(htpasswd=args.htpasswd)
    root = "" if args.memory else os.path.abspath(args.root or _default_root())
    config = RegistryConfig(
        host=host,
        port=port,
        root=root,
        read_only=args.read_only,
        delete_enabled=not args.no_delete,
        verify_references=not args.sparse,
        auth=auth,
        tls=TlsFiles(certificate=args.tls_cert, key=args.tls_key) if args.tls_cert else None,
    )
    if args.access_log:
        _log_accesses()
    asyncio.run(serve(config, ready=lambda url: _ready(url, root)))
    return 0


def _log_accesses() -> None:
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("registry.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _ready(url: str, root: str) -> None:
    print(f"serving {root or 'from memory'} at {url}", file=sys.stderr, flush=True)


def _default_root() -> str:
    return os.path.join(Settings.read().root, "registry")


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidOption(f"--listen {text}: expected ADDRESS:PORT, as in 127.0.0.1:5000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":5000" means every address, as elsewhere
