"""`carousel serve` in every respect but its model, for tests that need a process of its own.

Run as `python -m tests.integration.serve_fake_model FLAG=VALUE ...`.
"""

from __future__ import annotations

import sys

from service import bootstrap
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.storing import Opening
from service.telemetry.logs import configure_logs
from tests.integration.servers import IDENTITY, ON_FREE_PORTS


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    settings = load_settings({**ON_FREE_PORTS, **given})
    configure_logs(settings.log_level, settings.log_format)
    bootstrap.run(settings, [(FakeModel(), IDENTITY)], Opening(settings.storing()))


if __name__ == "__main__":
    main()
