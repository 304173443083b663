"""Settings of the property tests: machines that run tests are busy, so that time proves nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
