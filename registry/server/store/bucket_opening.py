"""
Which bucket a URL means, and how it is reached.

Invariants: what is missing in the settings comes from where the tools of the provider look as well
(environment, metadata service, workload identity); nothing of it is ever logged or shown.
Governing sources: documentation of obstore's stores; format of the shared credentials file of AWS.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...errors import InvalidConfiguration, StorageUnavailable
from .bucket import Bucket

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
_TIMEOUT = "60s"
_CONNECT_TIMEOUT = "5s"
_REREAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """
    How a bucket is reached.

    Attributes:
        endpoint: URL of a service that is not the provider's own; http:// is possible.
        region: of S3.
        credentials: a file: the shared credentials of AWS, a service account of Google.
        profile: which section of the shared credentials counts.
    """

    endpoint: str = ""
    region: str = ""
    credentials: str = ""
    profile: str = "default"


def open_bucket(url: str, settings: BucketSettings) -> Bucket:
    """
    The part of a bucket that ``scheme://bucket/prefix`` means; nothing is asked for yet.

    Raises:
        InvalidConfiguration: the URL or the settings cannot be used, or obstore is not installed.
    """
    scheme, _, rest = url.partition("://")
    name, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if scheme not in SCHEMES or not name or "?" in rest or "@" in rest or "//" in prefix:
        raise InvalidConfiguration(
            "the root is not the URL of a bucket", hint="write it as in s3://bucket/prefix, gs:// or az://"
        )
    try:
        import obstore  # noqa: F401 - tells whether it is here
    except ImportError as problem:
        raise InvalidConfiguration(
            f"a root in {scheme}:// needs the package obstore",
            hint="install the extra: pip install 'pybuild[objectstore]'",
        ) from problem
    more: dict[str, Any] = {
        "prefix": prefix or None,
        "client_options": {
            "timeout": _TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
            "allow_http": settings.endpoint.startswith("http://"),
        },
        "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
    }
    try:
        store = {"s3": _s3, "gs": _google, "az": _azure}[scheme](name, settings, more)
    except InvalidConfiguration:
        raise
    except Exception as problem:  # noqa: BLE001 - each store refuses settings with errors of its own
        reason = (str(problem).splitlines() or [""])[0]
        raise InvalidConfiguration(f"cannot use {scheme}://{name}: {reason}") from None
    return Bucket(store, scheme)


def _s3(name: str, settings: BucketSettings, more: dict[str, Any]) -> ObjectStore:
    from obstore.store import S3Store

    if settings.endpoint:
        more["endpoint"] = settings.endpoint
    if settings.region:
        more["region"] = settings.region
    if settings.credentials:
        more["credential_provider"] = SharedCredentials(settings.credentials, settings.profile)
    # The service compares what arrived with what was sent.
    return S3Store(name, checksum_algorithm="SHA256", **more)


def _google(name: str, settings: BucketSettings, more: dict[str, Any]) -> ObjectStore:
    from obstore.store import GCSStore

    if settings.endpoint:
        more["base_url"] = settings.endpoint
    if settings.credentials:
        more["service_account"] = settings.credentials
    return GCSStore(name, **more)


def _azure(name: str, settings: BucketSettings, more: dict[str, Any]) -> ObjectStore:
    from obstore.store import AzureStore

    if settings.credentials:
        raise InvalidConfiguration(
            "[bucket] credentials has no meaning for az://", hint="use AZURE_STORAGE_… in the environment"
        )
    if settings.endpoint:
        more["endpoint"] = settings.endpoint
    return AzureStore(name, **more)


class SharedCredentials:
    """
    The keys of a profile in the file that the tools of AWS share; it is read again from time to time.

    Args:
        path: the file.
        profile: the section.

    Raises:
        InvalidConfiguration: there are no keys.
    """

    def __init__(self, path: str, profile: str) -> None:
        self._path = path
        self._profile = profile
        try:
            self()
        except StorageUnavailable as problem:
            raise InvalidConfiguration(problem.reason) from None

    def __call__(self) -> dict[str, Any]:
        """The keys as obstore wants them."""
        file = configparser.RawConfigParser()
        try:
            with open(self._path, encoding="utf-8") as text:
                file.read_file(text)
            section = file[self._profile]
            found = {"access_key_id": section["aws_access_key_id"]}
            found["secret_access_key"] = section["aws_secret_access_key"]
        except (OSError, configparser.Error, KeyError, UnicodeDecodeError):
            # The cause is not kept: a parser shows the line that it did not understand.
            raise StorageUnavailable(f"{self._path} has no keys for the profile {self._profile}") from None
        token = section.get("aws_session_token")
        return {**found, "token": token, "expires_at": datetime.now(UTC) + _REREAD}
