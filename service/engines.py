"""One engine and batch for each model, all of them turned by one event loop; one budget of states for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from service.bridge import EngineSuggester
from service.engine.budget import StateBudget
from service.engine.engine import Engine, EngineConfig
from service.engine.launching import RunBeside
from service.engine.observer import EngineObserver
from service.engine.ports import StepModel
from service.engine.requests import Complete, CompleteSpec, ModelIdentity
from service.engine.scheduler import BatchLimits
from service.settings import CapacityConfig

Models = Sequence[tuple[StepModel, ModelIdentity]]
"""What is served, the default first; every identity has a name of its own."""

_LAST_BATCH_S = 1.0  # what the process waits at the end for a batch that nobody waits for any more
_WARM_UP_TEXT = b"def main():\n    "
_WARM_UP_SCOPE = "warm-up"  # a scope of its own: no session shares its states


class Engines:
    """The engines of one process, by the name of their model. Used on the loop's thread."""

    def __init__(self, models: Models, capacity: CapacityConfig, observer_of: Callable[[str], EngineObserver]) -> None:
        """Make them all, for the running loop. Raises BudgetTooSmall."""
        loop = asyncio.get_running_loop()
        config = EngineConfig(
            batch=BatchLimits(max_rows=capacity.max_batch_rows),
            max_waiting=capacity.max_queued,
            look_ahead=capacity.look_ahead,
        )
        budget = StateBudget(capacity.state_budget_bytes)
        shares = [budget.join() for _ in models]
        self._runners = [RunBeside() for _ in models]
        self._engines = [
            Engine(
                model,
                config,
                clock=time.monotonic,
                observer=observer_of(identity.name),
                runner=runner,
                share=share,
            )
            for (model, identity), share, runner in zip(models, shares, self._runners, strict=True)
        ]
        self.suggesters: Mapping[str, EngineSuggester] = {
            identity.name: EngineSuggester(engine, identity, loop)
            for (_, identity), engine in zip(models, self._engines, strict=True)
        }

    async def warm_up(self) -> None:
            max_replays=capacity.max_replays,
        """Run every model once the way that sessions will, so that the first caller need not pay for it."""
        for suggester in self.suggesters.values():
            path = suggester.open_path(_WARM_UP_SCOPE)
            # A completion: admission learns from suggestions what a request takes, and not from the first of all.
            async for _ in suggester.complete([Complete(path, _WARM_UP_TEXT, spec=CompleteSpec(max_bytes=8))]):
                pass
            suggester.close_path(path)

    async def stop(self, *, grace_s: float) -> None:
        """Finish what is under way, for at most the grace in all; what is left then is answered with Unavailable."""
        for engine in self._engines:
            engine.close()
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(suggester.idle() for suggester in self.suggesters.values()))
        except TimeoutError:
            for engine in self._engines:
                engine.abandon()
        for runner in self._runners:
            await asyncio.to_thread(runner.close, wait_s=_LAST_BATCH_S)
