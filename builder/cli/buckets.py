"""
Where a registry in a bucket keeps its state on this machine, and which credentials the user's tools have.

Invariant: what the settings say is never replaced.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.server.config import RegistryConfig

_OTHER_SOURCES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def is_url(root: str) -> bool:
    """Whether a root is no directory."""
    return "://" in root


def located(config: RegistryConfig, environment: Mapping[str, str], store_root: str) -> RegistryConfig:
    """
    The settings of a registry in a bucket, complete; others as they are.

    Args:
        config: the settings.
        environment: of this process.
        store_root: below which the state rests when nothing else is said.
    """
    if not config.is_bucket:
        return config
    found = config if config.state else replace(config, state=_state(config.root, store_root))
    if not config.root.startswith("s3://") or config.bucket_credentials:
        return found
    path = environment.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    if any(name in environment for name in _OTHER_SOURCES) or not os.path.isfile(path):
        return found
    profile = environment.get("AWS_PROFILE", config.bucket_profile)
    return replace(found, bucket_credentials=path, bucket_profile=profile)


def _state(url: str, store_root: str) -> str:
    """Another directory for each bucket and prefix, with a name that tells which."""
    readable = re.sub(r"[^a-z0-9.]+", "-", url.lower())[:60]
    return os.path.join(
        store_root, "registries", f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    )
