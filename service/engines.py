"""An engine and a batch for each version of each model, all turned by one event loop; one budget of states for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from service.engine.budget import Share, StateBudget
from service.engine.engine import Engine, EngineConfig
from service.engine.launching import RunBeside
from service.engine.observer import EngineObserver
from service.engine.ports import Releasable, StepModel
from service.engine.requests import Complete, CompleteSpec, ModelIdentity
from service.engine.scheduler import BatchLimits
from service.settings import CapacityConfig, RolloutConfig
from service.versions import ModelVersions, Version, first_number

Models = Sequence[tuple[StepModel, ModelIdentity]]
"""What is served, the default first; every identity has a name of its own."""

_LAST_BATCH_S = 1.0  # what the process waits at the end for a batch that nobody waits for any more
_LAST_WORK_S = 10.0  # what an unloaded version may still take for what it was asked
_ROOM_S = 10.0  # for others to give back what a new version has a right to
_LOOK_S = 0.005
_WARM_UP_TEXT = b"def main():\n    "
_WARM_UP_SCOPE = "warm-up"  # a scope of its own: no session shares its states
_UNLOADED = "this version of the model is being unloaded; ask again"


class NoRoom(Exception):
    """Others did not give back what a new version has a right to."""


class Engines:
    """The engines of one process, by the name of their model. Used on the loop's thread."""

    def __init__(
        self,
        models: Models,
        capacity: CapacityConfig,
        observer_of: Callable[[str], EngineObserver],
        rollout: RolloutConfig | None = None,
    ) -> None:
        """Make them all, for the running loop. Raises BudgetTooSmall."""
        self._config = EngineConfig(
            batch=BatchLimits(max_rows=capacity.max_batch_rows),
            max_waiting=capacity.max_queued,
            max_replays=capacity.max_replays,
            look_ahead=capacity.look_ahead,
        )
        self._budget = StateBudget(capacity.state_budget_bytes)
        self._made = 0
        self._runners: dict[Version, RunBeside] = {}
        self._observers: dict[Version, EngineObserver] = {}
        times = rollout or RolloutConfig()
        shares = [self._budget.join() for _ in models]
        self.suggesters: Mapping[str, ModelVersions] = {
            identity.name: ModelVersions(
                self._version(model, identity, share, observer_of(identity.name)),
                idle_s=times.idle_s,
                within_s=times.within_s,
            )
            for (model, identity), share in zip(models, shares, strict=True)
        }

    async def warm_up(self) -> None:
        """Run every model once the way that sessions will, so that the first caller need not pay for it."""
        for versions in self.suggesters.values():
            await _warm_up(versions.newest)

    async def begin(self, model: StepModel, identity: ModelIdentity, observer: EngineObserver) -> Version:
        """An engine for another version, beside the others, warm; nobody is sent there yet.

        Raises NoRoom, BudgetTooSmall, and whatever the model raises; nothing is kept then.
        """
        share = self._budget.join()
        try:
            await self._wait_for(share)
            version = self._version(model, identity, share, observer)
        except BaseException:
            share.leave()
            if isinstance(model, Releasable):
                model.release()
            raise
        try:
            await _warm_up(version)
        except BaseException:
            await self.retire(version)
            raise
        return version

    async def retire(self, version: Version) -> bool:
        """Let a version end what it was asked for, and give everything back; False if its model does not return."""
        engine = version.engine
        engine.close(_UNLOADED)
        if not await _became_idle(version, _LAST_WORK_S):
            engine.abandon()
        await asyncio.to_thread(self._runners[version].close, wait_s=_LAST_WORK_S)
        engine.tick()  # keeps the last batch
        if not engine.idle:
            return False
        version.release()
        self._observers.pop(version).state_bytes(0)
        del self._runners[version]
        return True

    async def stop(self, *, grace_s: float) -> None:
        """Finish what is under way, for at most the grace in all; what is left then is answered with Unavailable."""
        for version in self._runners:
            version.engine.close()
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(version.idle() for version in self._runners))
        except TimeoutError:
            for version in self._runners:
                version.engine.abandon()
        for runner in self._runners.values():
            await asyncio.to_thread(runner.close, wait_s=_LAST_BATCH_S)

    def _version(self, model: StepModel, identity: ModelIdentity, share: Share, observer: EngineObserver) -> Version:
        runner = RunBeside()
        try:
            engine = Engine(
                model,
                self._config,
                clock=time.monotonic,
                observer=observer,
                runner=runner,
                share=share,
                first_number=first_number(self._made),
            )
        except BaseException:
            runner.close()
            raise
        self._made += 1
        version = Version(engine, identity, asyncio.get_running_loop())
        self._runners[version], self._observers[version] = runner, observer
        return version

    async def _wait_for(self, share: Share) -> None:
        """Those who have more than is theirs now give it back at their next tick. Raises NoRoom."""
        until_s = time.monotonic() + _ROOM_S
        while not share.is_there:
            if time.monotonic() > until_s:
                raise NoRoom(f"the states of the models in use were not given back within {_ROOM_S:g} s: try again")
            await asyncio.sleep(_LOOK_S)


async def _warm_up(version: Version) -> None:
    path = version.open_path(_WARM_UP_SCOPE)
    # A completion: admission learns from suggestions what a request takes, and not from the first of all.
    async for _ in version.complete([Complete(path, _WARM_UP_TEXT, spec=CompleteSpec(max_bytes=8))]):
        pass
    version.close_path(path)


async def _became_idle(version: Version, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await version.idle()
    except TimeoutError:
        return False
    return True
