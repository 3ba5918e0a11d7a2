"""One engine, with its own thread and batch, for each model; one budget of states for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from service.bridge import EngineSuggester, LoopDelivery
from service.engine.budget import StateBudget
from service.engine.engine import Engine, EngineConfig
from service.engine.observer import EngineObserver
from service.engine.ports import StepModel
from service.engine.requests import Complete, CompleteSpec, ModelIdentity
from service.engine.running import RunBeside
from service.engine.scheduler import BatchLimits
from service.settings import CapacityConfig

Models = Sequence[tuple[StepModel, ModelIdentity]]
"""What is served, the default first; every identity has a name of its own."""

_WARM_UP_TEXT = b"def main():\n    "
_WARM_UP_SCOPE = "warm-up"  # a scope of its own: no session shares its states


class Engines:
    """The engines of one process, by the name of their model. `stop` them on another thread than the loop's."""

    def __init__(self, models: Models, capacity: CapacityConfig, observer_of: Callable[[str], EngineObserver]) -> None:
        """Start them all, on the running loop. Raises BudgetTooSmall; none runs then."""
        loop = asyncio.get_running_loop()
        config = EngineConfig(
            batch=BatchLimits(max_rows=capacity.max_batch_rows),
            max_waiting=capacity.max_queued,
            look_ahead=capacity.look_ahead,
        )
        budget = StateBudget(capacity.state_budget_bytes)
        shares = [budget.join() for _ in models]
        self._engines = [
            Engine(
                model,
                config,
                deliver=LoopDelivery(loop),
                clock=time.monotonic,
                observer=observer_of(identity.name),
                runner=RunBeside(),
                share=share,
            )
            for (model, identity), share in zip(models, shares, strict=True)
        ]
        self.suggesters: Mapping[str, EngineSuggester] = {
            identity.name: EngineSuggester(engine, identity, loop)
            for (_, identity), engine in zip(models, self._engines, strict=True)
        }
        for engine in self._engines:
            engine.start()

    async def warm_up(self) -> None:
        """Run every model once the way that sessions will, so that the first caller need not pay for it."""
        for suggester in self.suggesters.values():
            path = suggester.open_path(_WARM_UP_SCOPE)
            # A completion: admission learns from suggestions what a request takes, and not from the first of all.
            async for _ in suggester.complete([Complete(path, _WARM_UP_TEXT, spec=CompleteSpec(max_bytes=8))]):
                pass
            suggester.close_path(path)

    def stop(self, *, grace_s: float) -> None:
        """Finish what is under way, for at most the grace in all; their last answers need the loop to run."""
        until_s = time.monotonic() + grace_s
        for engine in self._engines:
            engine.stop(grace_s=max(until_s - time.monotonic(), 0.0))
