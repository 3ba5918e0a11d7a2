"""Rollouts without a socket: what a folder says, what becomes of it, and how its versions are numbered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.fake_model import FakeModel
from service.engine.observer import EngineObserver, Unobserved
from service.engine.ports import ModelError, States, StepResult
from service.engine.requests import Advance, ModelIdentity, SuggestSpec
from service.engines import Engines
from service.errors import InvalidArgument, PermissionDenied
from service.loading import ModelFolderError
from service.model.manifest import Graph, Manifest
from service.rollout import MOST_LOADED, LoadFailed, Rollout
from service.sessions.commands import Tenant
from service.settings import CapacityConfig, RolloutConfig, load_settings
from service.versions import Version

OPS = Tenant("ops")


class Model(FakeModel):
    """A fake with a name of its own, that says when it is given back."""

    def __init__(self, identity: ModelIdentity) -> None:
        super().__init__()
        self.identity, self.released = identity, 0

    def release(self) -> None:
        self.released += 1


@dataclass
class Folder:
    """A folder as a test has it: the version in it, and what is wrong with it."""

    version: int = 0
    fault: str | None = None
    name: str = "fake"
    vocabulary_size: int = 256
    changes_while_read: bool = False
    kind: type[Model] = Model
    made: list[Model] = field(default_factory=list)

    def signature(self) -> Hashable:
        return None if self.fault == "gone" else (self.version, self.fault, self.name)

    def manifest(self) -> Manifest:
        graph = Graph(file="m", sha256=f"{self.version:064x}", bytes=1, states=())
        return Manifest(name=self.name, top_k=16, vocabulary_size=self.vocabulary_size, graphs={"int8": graph})

    def load(self) -> Model:
        if self.fault is not None:
            raise ModelFolderError(self.fault)
        self.version += self.changes_while_read
        made = self.kind(ModelIdentity(self.name, self.manifest().digest(), f"numerics {self.version}"))
        self.made.append(made)
        return made


START = ModelIdentity("fake", Folder().manifest().digest(), "start")


@dataclass
class Told:
    """What was told of versions; `gone` once one was unloaded."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    there: list[str] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)

    def engine_of(self, model: str) -> EngineObserver:
        return Unobserved()

    def loaded(self, version: Version) -> None:
        self.there.append(version.identity.numerics_id)

    def unloaded(self, version: Version) -> None:
        self.there.remove(version.identity.numerics_id)
        self.gone.set()

    def load_ended(self, model: str, *, failed: bool) -> None:
        self.ended.append(failed)


@dataclass
class Bench:
    folder: Folder
    engines: Engines
    rollout: Rollout
    told: Told

    def states(self) -> list[tuple[str, str]]:
        return [(one.number, one.state.value) for one in self.rollout.versions("fake")]

    def reasons(self) -> list[str]:
        return [one.reason for one in self.rollout.versions("fake")]

    async def load(self, version: int) -> None:
        self.folder.version = version
        await self.rollout.load(OPS, "fake")


def capacity(**flags: str) -> CapacityConfig:
    return load_settings({"store": "memory:", "state_budget": "1MiB", **flags}).capacity()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    config = RolloutConfig(admin="ops", idle_s=0.001)
    engines = Engines([(Model(START), START)], capacity(), lambda _: Unobserved(), config)
    folder, told = Folder(), Told()
    rollout = Rollout(engines, {"fake": folder}, config)
    rollout.observe(told)
    yield Bench(folder, engines, rollout, told)
    await engines.stop(grace_s=5)


async def test_a_version_is_numbered_when_it_is_loaded_and_keeps_its_number(bench: Bench) -> None:
    keeps = bench.engines.suggesters["fake"].open_path("tenant")
    await bench.engines.suggesters["fake"].advance(Advance(keeps, b"a"))
    assert bench.states() == [("1", "READY")]
    await bench.load(1)
    await bench.load(1)
    await bench.load(2)
    assert bench.states() == [("1", "READY"), ("2", "READY"), ("3", "READY")]
    assert bench.reasons()[2] == "" and all("version 3 serves" in reason for reason in bench.reasons()[:2])
    await bench.load(1)
    assert bench.reasons()[1] == "" and "version 2 serves" in bench.reasons()[2]
    assert (bench.told.ended, len(bench.folder.made)) == ([False, False, False], 2)
    await asyncio.sleep(0.002)  # the time for which nobody asked
    await bench.rollout.settle()
    assert bench.states() == [("1", "UNAVAILABLE"), ("2", "READY"), ("3", "UNAVAILABLE")]
    assert bench.told.there == ["numerics 1"]
    assert [model.released for model in bench.folder.made] == [0, 1]
    await bench.load(2)
    assert bench.states()[2] == ("3", "READY")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"fault": "torn"}, "torn"),
        ({"name": "other"}, "holds 'other'"),
        ({"vocabulary_size": 255}, "255 bytes"),
        ({"changes_while_read": True}, "changed while it was read"),
    ],
)
async def test_what_fails_is_told_and_the_next_that_works_takes_its_number(
    bench: Bench, fault: dict[str, object], why: str
) -> None:
    for name, value in fault.items():
        setattr(bench.folder, name, value)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match=why):
            await bench.load(1)
    assert bench.states() == [("1", "READY"), ("2", "UNAVAILABLE")]
    assert why in bench.reasons()[1]
    assert bench.told.there == ["start"] and bench.told.ended == [True, True]
    assert all(model.released for model in bench.folder.made)
    for name in fault:
        setattr(bench.folder, name, getattr(Folder(), name))
    await bench.load(0)
    assert bench.states() == [("1", "READY")], "the folder holds what serves"
    await bench.load(7)
    assert bench.states() == [("1", "READY"), ("2", "READY")]


async def test_a_budget_too_small_for_one_more_leaves_all_as_it_was(bench: Bench) -> None:
    small = Engines([(Model(START), START)], capacity(state_budget="6000"), lambda _: Unobserved())
    rollout = Rollout(small, {"fake": bench.folder}, RolloutConfig())
    rollout.observe(Told())
    bench.folder.version = 1
    with pytest.raises(LoadFailed, match="give at least"):
        await rollout.renew("fake")
    assert [model.released for model in bench.folder.made] == [1]
    versions = small.suggesters["fake"]
    answer = await versions.advance(Advance(versions.open_path("tenant"), b"abc", suggest=SuggestSpec(count=1)))
    assert answer.continuations
    await small.stop(grace_s=5)


async def test_only_so_many_are_loaded_at_a_time(bench: Bench) -> None:
    versions = bench.engines.suggesters["fake"]
    for number in range(1, MOST_LOADED):
        path = versions.open_path("tenant")
        await versions.advance(Advance(path, b"a"))
        await bench.load(number)
    with pytest.raises(InvalidArgument, match="unload the older ones first"):
        await bench.load(MOST_LOADED)
    await bench.rollout.unload(OPS, "fake")
    await bench.load(MOST_LOADED)
    assert bench.states()[-1] == (str(MOST_LOADED + 1), "READY")


async def test_nobody_but_the_admin_s_tenant_changes_anything(bench: Bench) -> None:
    for change in (bench.rollout.load, bench.rollout.unload):
        with pytest.raises(PermissionDenied, match="tenant in --model-admin"):
            await change(Tenant("team"), "fake")


async def test_nothing_is_loaded_before_it_can_be_counted_or_without_a_folder() -> None:
    engines = Engines([(Model(START), START)], capacity(), lambda _: Unobserved())
    rollout = Rollout(engines, {}, RolloutConfig(admin="ops"))
    with pytest.raises(InvalidArgument, match="still starting"):
        await rollout.load(OPS, "fake")
    rollout.observe(Told())
    with pytest.raises(InvalidArgument, match="not a folder"):
        await rollout.load(OPS, "fake")
    await engines.stop(grace_s=5)


async def test_a_look_tries_what_has_been_the_same_twice_and_only_once(bench: Bench) -> None:
    for _ in range(3):
        await bench.rollout.look()
    bench.folder.version, bench.folder.fault = 1, "half of it"
    await bench.rollout.look()
    assert bench.told.ended == []
    for _ in range(3):
        await bench.rollout.look()
    assert bench.told.ended == [True]
    bench.folder.fault = "gone"
    for _ in range(3):
        await bench.rollout.look()
    bench.folder.fault = None
    for _ in range(3):
        await bench.rollout.look()
    assert bench.told.ended == [True, False]
    assert bench.states() == [("1", "READY"), ("2", "READY")]


async def test_it_looks_and_settles_by_itself_and_when_it_is_wanted(bench: Bench) -> None:
    bench.rollout.start()
    bench.folder.version = 1
    bench.rollout.renew_soon()
    await asyncio.wait_for(bench.told.gone.wait(), 20)
    assert bench.states() == [("1", "UNAVAILABLE"), ("2", "READY")]
    await bench.rollout.stop()


async def test_who_asked_may_go_away_while_it_is_loaded(bench: Bench) -> None:
    loading, go_on = threading.Event(), threading.Event()
    load = bench.folder.load

    def slowly() -> Model:
        loading.set()
        assert go_on.wait(20)
        return load()

    bench.folder.load = slowly  # type: ignore[method-assign]  # this folder alone is slow
    asked = asyncio.create_task(bench.load(1))
    assert await asyncio.to_thread(loading.wait, 20)
    assert bench.states() == [("1", "READY"), ("2", "LOADING")]
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    go_on.set()
    await bench.load(1)  # waits for the one before it, and finds it done
    assert bench.states() == [("1", "READY"), ("2", "READY")]
    assert len(bench.folder.made) == 1


async def test_a_model_that_fails_on_its_first_text_is_given_back(bench: Bench) -> None:
    class Broken(Model):
        def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
            if len(self.calls) == 1:
                raise ModelError("no room for another step")
            return super().step(tokens, states, all_probabilities=all_probabilities)

    bench.folder.kind = Broken
    with pytest.raises(InvalidArgument, match="could not be run"):
        await bench.load(1)
    assert [model.released for model in bench.folder.made] == [1]
    assert bench.states() == [("1", "READY"), ("2", "UNAVAILABLE")]
    path = bench.engines.suggesters["fake"].open_path("tenant")
    assert (await bench.engines.suggesters["fake"].advance(Advance(path, b"abc"))).steps


async def test_a_version_that_is_being_given_back_is_told_of_as_unloading(bench: Bench) -> None:
    seen: list[list[tuple[str, str]]] = []

    class Watching(Unobserved):
        def state_bytes(self, held: int) -> None:
            seen.append(bench.states())

    bench.told.engine_of = lambda model: Watching()  # type: ignore[method-assign]  # for this test's versions alone
    await bench.load(1)
    await bench.load(2)
    await bench.rollout.settle()
    assert seen[-1] == [("1", "UNLOADING"), ("2", "UNLOADING"), ("3", "READY")]
    assert bench.states() == [("1", "UNAVAILABLE"), ("2", "UNAVAILABLE"), ("3", "READY")]
