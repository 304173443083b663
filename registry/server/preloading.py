"""
Loading the HTTP library while the rest of a server is loaded.

The library reads the certificate authorities of the system when it is imported, a fifth of the start of a
server, during which other threads can work. Invariant: nothing depends on this having happened.
"""

from __future__ import annotations

import threading


def preload() -> threading.Thread:
    """Begin to load what a server needs in a thread; whoever imports it meanwhile waits for it."""
    thread = threading.Thread(target=_load, name="preload", daemon=True)
    thread.start()
    return thread


def load_storage(root: str) -> None:
    """Load what keeps content, which needs no HTTP; do it before the rest."""
    from .store import memory  # noqa: F401 - for its effect

    if root:
        from .housekeeping import upkeep  # noqa: F401 - as above


def _load() -> None:
    import aiohttp.web  # noqa: F401 - for its effect
