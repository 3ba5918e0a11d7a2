"""How hypothesis searches: freely at a desk, the same way every time in continuous integration."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# A shared machine's pauses are not the code's; a hung test is ended by pytest-timeout.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# A server that a test starts without naming a store keeps its sessions by default: here, not in anybody's home.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="carousel-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
