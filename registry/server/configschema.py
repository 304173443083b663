"""
Every setting of the configuration file: one table, from which reading and the JSON schema follow.

Invariants: a setting has one name, ``section.key``; its kind is checked before anything is built from it.
Governing sources: TOML 1.0; JSON Schema 2020-12.
"""

from __future__ import annotations

from typing import Any

from .configsections import SECTIONS
from .configsetting import object_schema
from .configtables import TABLES

ENVIRONMENT_PREFIX = "PYBUILD_REGISTRY_"


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()


def schema() -> dict[str, Any]:
    """The JSON schema of the configuration file."""
    names = {"type": "array", "items": {"type": "string"}}
    properties: dict[str, Any] = {name: object_schema(settings) for name, settings in SECTIONS.items()}
    properties["groups"] = {
        "type": "object",
        "additionalProperties": names,
        "description": "Members of groups that rules name.",
    }
    for name, settings in TABLES.items():
        parent, dot, key = name.rpartition(".")
        place = properties[parent]["properties"] if dot else properties
        place[key] = {"type": "array", "items": object_schema(settings)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of pybuild registry",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
