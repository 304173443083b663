"""Where the keys of an SSH agent come from that a build passes on; a value without I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSource:
    """The socket of an agent that runs, or the files of private keys (absolute paths) for one of our own."""

    socket: str = ""
    keys: tuple[str, ...] = ()
