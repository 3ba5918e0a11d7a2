"""`carousel serve` in every respect, but that it may kill itself between a commit and its acknowledgement.

Run as `python -m tests.faults.serve_until_killed FLAG=VALUE ...`; at the Nth list of answers of its store, with
`die_after=N`, the process ends as by `kill -9`: what they would have acknowledged is written, and nobody is told.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from service import bootstrap
from service.engine.fake_model import FakeModel
from service.loading import begin_loading
from service.sessions.stores import valkey_queue
from service.sessions.stores.sqlite import SqliteStore
from service.sessions.stores.valkey_scripts import FENCED
from service.settings import load_settings
from service.storing import Opening
from service.telemetry.logs import configure_logs
from tests.integration.servers import IDENTITY, ON_FREE_PORTS


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    die_after = int(given.pop("die_after", "0"))
    if die_after:
        _die_at(die_after, given["store"])
    settings = load_settings({**ON_FREE_PORTS, "log_format": "json", **given})
    opening = Opening(settings.storing())
    if "model" in given:
        bootstrap.serve(settings, begin_loading(settings.models_to_load()), opening)
    else:
        configure_logs(settings.log_level, settings.log_format)
        bootstrap.run(settings, [(FakeModel(), IDENTITY)], opening)


def _die_at(number: int, store: str) -> None:
    """The moment is one that no caller can reach: the store has its answers, and has told nobody."""
    left = [number]

    def dying(answer: Callable[..., None], counts: Callable[..., bool]) -> Callable[..., None]:
        def die_or_answer(*of: Any) -> None:
            left[0] -= counts(*of)
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            answer(*of)

        return die_or_answer

    if store.startswith("sqlite:"):
        SqliteStore._answered = dying(SqliteStore._answered, lambda *_: True)  # type: ignore[method-assign]  # of this process alone
    else:
        valkey_queue._settle = dying(valkey_queue._settle, _has_made_an_edit)


def _has_made_an_edit(calls: Sequence[Any], answers: Sequence[Any]) -> bool:
    return calls[0].edit is not None and not isinstance(answers[0], Exception) and answers[0] != FENCED


if __name__ == "__main__":
    main()
