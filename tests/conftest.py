"""How hypothesis searches: freely at a desk, the same way every time in continuous integration."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A shared machine's pauses are not the code's; a hung test is ended by pytest-timeout.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
