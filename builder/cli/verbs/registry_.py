"""``pybuild registry``: serve a registry until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping

from ...errors import InvalidOption
from ..buckets import is_url, located
from ..options import verb
from ..settings import VERSION, Settings
from . import registry_maintenance


def main(arguments: list[str]) -> int:
    """Run the verb."""
    if arguments and arguments[0] in registry_maintenance.WORDS:
        return registry_maintenance.main(arguments[0], arguments[1:])
    p = verb("registry", "Serve a registry (OCI distribution API) over HTTP.", usage="[OPTIONS]", root=False)
    p.add_argument("--config", metavar="FILE", help="settings (TOML); other options overrule them")
    p.add_argument(
        "--verify", action="store_true", help="check the settings and the files they name, then end"
    )
    p.add_argument("--schema", action="store_true", help="print the JSON schema of the settings, then end")
    p.add_argument("--listen", metavar="ADDRESS:PORT", help="default 127.0.0.1:5000; port 0: any free one")
    p.add_argument(
        "--root", metavar="DIR|URL", help="where the content rests (default: registry/ in the store)"
    )
    p.add_argument("--memory", action="store_true", default=None, help="keep everything in memory")
    p.add_argument("--workers", type=int, metavar="N", help="how many processes answer (default 1)")
    p.add_argument("--read-only", action="store_true", default=None, help="refuse pushes and deletions")
    p.add_argument("--no-delete", action="store_true", help="refuse deletions")
    p.add_argument("--sparse", action="store_true", help="accept manifests whose parts are not here")
    p.add_argument("--access-log", action="store_true", help="write a line for each request to stderr")
    p.add_argument("--htpasswd", metavar="FILE", help="users and bcrypt passwords")
    p.add_argument("--anonymous-pull", action="store_true", help="with --htpasswd: pulls need no password")
    p.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM)")
    p.add_argument("--tls-key", metavar="FILE", help="key of the certificate (PEM)")
    p.add_argument(
        "--tls-self-signed", metavar="DIR", help="for development: make DIR/certificate.pem and key.pem"
    )
    args = p.parse_args(arguments)
    if args.schema:
        return _print_schema()
    from registry.server.preloading import load_storage, preload

    loading = preload()
    from registry.server.configfile import load

    config = load(
        args.config or "",
        environment=os.environ,
        flags=_flags(args),
        defaults={("traces", "enabled"): _wants_traces(os.environ) or None},
        default_root=_default_root(),
    )
    load_storage(config.root)
    loading.join()
    from registry.server.serve import serve

    config = located(config, os.environ, Settings.read().root)
    if args.verify:
        from registry.server.preconditions import verify

        verify(config)
        if config.mirrors:
            from registry.upstreams import check

            check(config.mirrors, os.environ)
        print(f"{args.config or 'the settings'}: ok")
        return 0
    if config.access_log != "off":
        _log_accesses(config.access_log)
    client = None
    if config.mirrors:
        from registry.upstreams import upstreams

        said = Settings.read()
        client = upstreams(
            said.environment, user_agent=f"pybuild/{VERSION}", proxies=said.proxies, no_proxy=said.no_proxy
        )
    asyncio.run(serve(config, ready=lambda url: _ready(url, config.root), upstreams=client))
    return 0


def _flags(args: argparse.Namespace) -> dict[tuple[str, str], object]:
    if bool(args.tls_cert) != bool(args.tls_key):
        raise InvalidOption("--tls-cert and --tls-key belong together")
    if args.tls_self_signed and args.tls_cert:
        raise InvalidOption("--tls-self-signed makes what --tls-cert and --tls-key name: choose one")
    if args.anonymous_pull and not args.htpasswd:
        raise InvalidOption(
            "--anonymous-pull needs --htpasswd", hint="without it everybody may do everything"
        )
    if args.memory and args.root:
        raise InvalidOption("--memory and --root exclude each other")
    flags: dict[tuple[str, str], object] = {
        ("server", "listen"): args.listen,
        ("server", "workers"): args.workers,
        ("server", "read_only"): args.read_only,
        ("server", "delete"): False if args.no_delete else None,
        ("log", "access"): "text" if args.access_log else None,
        ("storage", "verify_references"): False if args.sparse else None,
        ("auth", "htpasswd"): args.htpasswd,
        ("tls", "certificate"): args.tls_cert,
        ("tls", "key"): args.tls_key,
    }
    in_memory = args.memory or args.root == "memory:"
    if in_memory or args.root:
        root = args.root if is_url(args.root or "") else os.path.abspath(args.root or "")
        flags["storage", "memory"] = bool(in_memory)
        flags["storage", "root"] = "" if in_memory else root
    if args.tls_self_signed:
        directory = os.path.abspath(args.tls_self_signed)
        flags["tls", "certificate"] = f"{directory}/certificate.pem"
        flags["tls", "key"] = f"{directory}/key.pem"
        flags["tls", "self_signed"] = True
    if args.anonymous_pull:
        flags["auth", "anonymous_pull"] = True
    elif args.htpasswd and not args.config:
        flags["auth", "mode"] = "basic"
    return flags


def _wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the variables of OpenTelemetry ask for traces, and its packages are here."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not any(environment.get(name) for name in names):
        return False
    from importlib.util import find_spec

    if find_spec("opentelemetry") is not None:
        return True
    print("warning: there are no traces without pip install 'pybuild[otel]'", file=sys.stderr)
    return False


def _print_schema() -> int:
    import json

    from registry.server.configschema import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _log_accesses(kind: str) -> None:
    import logging

    from registry.server import accesslog

    accesslog.LOGGER.addHandler(accesslog.handler(kind))
    accesslog.LOGGER.setLevel(logging.INFO)


def _ready(url: str, root: str) -> None:
    print(f"serving {root or 'from memory'} at {url}", file=sys.stderr, flush=True)


def _default_root() -> str:
    return os.path.join(Settings.read().root, "registry")
