"""
Whole images between a store and a registry: the names that the builder and the command line use.

Pushing, pulling and fetching have a module each; this one only gathers them, with logging in.
"""

from __future__ import annotations

from .client import RegistryClient
from .credentials import Credentials
from .fetching import fetch_layers
from .progress import Activity, BlobProgress, OnProgress
from .pulling import Pulled, pull
from .pushing import ImageSource, push
from .session import TransportOptions
from .transport import Transport

__all__ = [
    "Activity",
    "BlobProgress",
    "ImageSource",
    "OnProgress",
    "Pulled",
    "fetch_layers",
    "login",
    "pull",
    "push",
]


async def login(registry: str, credentials: Credentials, options: TransportOptions | None = None) -> None:
    """
    Check that a registry accepts the credentials; nothing is stored.

    Raises:
        Unauthorized: it does not.
        TransportProblem: it cannot be reached.
        ApiError: the host answers but is no registry.
    """
    async with Transport(options, lambda _registry: credentials) as transport:
        await RegistryClient(transport, registry).ping()
