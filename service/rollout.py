"""New versions of models while the server runs: noticed or asked for, and loaded beside those that they replace.

Imported and made after the first keystroke was answered. On the event loop's thread; what blocks runs on others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from service.engine.observer import EngineObserver
from service.engine.ports import ModelError, Releasable, StepModel
from service.engine.requests import ModelIdentity
from service.engine.state_tree import BudgetTooSmall
from service.engines import Engines, NoRoom
from service.errors import CarouselError
from service.loading import ModelFolderError
from service.model.manifest import Manifest
from service.sessions.commands import Tenant
from service.settings import RolloutConfig
from service.transport.kserve.refusals import loading_is_off, not_loaded, not_unloaded, unknown_to_repository
from service.transport.kserve.repository import ModelVersion
from service.version_numbers import VersionNumbers
from service.versions import Version

MOST_LOADED = 4
"""Versions of one model at a time: each has a share of the budget, and its weights in memory."""

_LOOK_EVERY_S = 1.0  # for sessions that are idle, and versions that are empty
_BETWEEN_MOVES_S = 0.005  # for everybody else, while many sessions go over


_FAULTS = (ModelFolderError, ModelError, BudgetTooSmall, NoRoom, CarouselError)
"""What a folder, a model and a full server raise."""


class Loaded(StepModel, Protocol):
    """A model with what names it."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, digest, numerics."""


class Source(Protocol):
    """Where the versions of one model come from; a `ModelFolder`. Every method blocks, on any thread."""

    def signature(self) -> Hashable:
        """What changes when there may be something else."""

    def manifest(self) -> Manifest:
        """What is there. Raises ModelFolderError."""

    def load(self) -> Loaded:
        """Load it. Raises ModelFolderError."""


class RolloutObserver(Protocol):
    """Told what happens to versions."""

    def engine_of(self, model: str) -> EngineObserver:
        """Who observes the engine of one more version of this model."""

    def loaded(self, version: Version) -> None:
        """One more is there."""

    def unloaded(self, version: Version) -> None:
        """It is gone."""

    def load_ended(self, model: str, *, failed: bool) -> None:
        """A load has come to its end."""


class LoadFailed(Exception):
    """What is in the folder cannot be served; the message says why, and what served goes on to."""


class Rollout:
    """One for the process; a Repository to the facade of KServe.

    sources: by the name of the model; one without is served as it was given.
    """

    def __init__(self, engines: Engines, sources: Mapping[str, Source], config: RolloutConfig) -> None:
        self._engines, self._sources, self._config = engines, sources, config
        self._models = engines.suggesters
        self._numbers = {name: VersionNumbers(versions) for name, versions in self._models.items()}
        self._vocabularies = {name: versions.newest.engine.vocabulary_size for name, versions in self._models.items()}
        self._observer: RolloutObserver | None = None
        self._one_at_a_time, self._wanted = asyncio.Lock(), asyncio.Event()
        self._watched = {name: _Watched() for name in sources}
        self._works: set[asyncio.Task[None]] = set()
        self._log = logging.getLogger("carousel.models")

    def observe(self, observer: RolloutObserver) -> None:
        """Begin to tell. Until then nothing is loaded: there is nobody to count what an engine does."""
        self._observer = observer
        for versions in self._models.values():
            for version in versions.loaded:
                observer.loaded(version)

    # -- as a repository ----------------------------------------------------------------------------------------

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """As `Repository.versions`."""
        return self._numbers[name].told() if name in self._numbers else ()

    async def load(self, tenant: Tenant, name: str) -> None:
        """As `Repository.load`."""
        self._check_caller(tenant)
        if name not in self._models:
            raise unknown_to_repository(name, self._models)
        try:
            await asyncio.shield(self._begun(name))  # who asks may go away; what was begun comes to its end
        except LoadFailed as error:
            raise not_loaded(name, str(error)) from error

    async def unload(self, tenant: Tenant, name: str) -> None:
        """As `Repository.unload`."""
        self._check_caller(tenant)
        if name not in self._models:
            raise unknown_to_repository(name, self._models)
        async with self._one_at_a_time:
            versions = self._models[name]
            if len(versions.loaded) == 1:
                raise not_unloaded(name)
            versions.hasten()
        await self.settle()

    # -- doing it -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look at folders and at idle sessions from now on, until `stop`."""
        self._works.add(asyncio.create_task(self._run()))

    async def stop(self) -> None:
        """Begin nothing more, and give up what was begun."""
        works = tuple(self._works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _begun(self, name: str) -> asyncio.Task[None]:
        """A renewal that goes on whoever waits for it."""
        work = asyncio.create_task(self.renew(name))
        self._works.add(work)
        work.add_done_callback(self._ended)
        return work

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._works.discard(work)
        if not work.cancelled():
            work.exception()  # was logged, and belongs to who waits, if anybody does

    async def _run(self) -> None:
        watch_s = self._config.watch_s
        looked_s = asyncio.get_running_loop().time()
        every_s = _LOOK_EVERY_S if watch_s is None else min(_LOOK_EVERY_S, watch_s)
        while True:
            wanted = await self._wanted_within(every_s)
            try:
                await self.settle()
                if wanted:
                    await self._renew_all()
                now_s = asyncio.get_running_loop().time()
                if watch_s is not None and now_s - looked_s >= watch_s:
                    looked_s = now_s
                    await self.look()
            except Exception:  # noqa: BLE001  a bug must not end the rollouts of a server that runs for months
                self._log.exception("looking after the versions of models failed")

    async def look(self) -> None:
        """Load what has changed, once it has been the same for two looks. What fails is logged, once."""
        for name, source in self._sources.items():
            signature = await asyncio.to_thread(source.signature)
            if self._watched[name].is_due(signature):
                await self._try(name)

    def renew_soon(self) -> None:
        """Have every folder looked into now, once it has started. What fails is logged."""
        self._wanted.set()

    async def _wanted_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return False
        self._wanted.clear()
        return True

    async def _renew_all(self) -> None:
        for name in self._sources:
            await self._try(name)

    async def settle(self) -> None:
        """Move sessions that are idle to the newest version, and unload the versions that are empty then."""
        for versions in self._models.values():
            while versions.sweep():  # noqa: ASYNC110  the others are let go on between
                await asyncio.sleep(_BETWEEN_MOVES_S)
            empty = versions.take_empty()
            for version in empty:
                self._numbers[version.identity.name].unloads(version.identity.digest)
            for version in empty:
                await self._retire(version)

    async def renew(self, name: str) -> None:
        """Make what is in the model's folder the newest version. Raises LoadFailed: all is as it was then."""
        async with self._one_at_a_time:
            try:
                begun = await self._begin(name)
            except (*_FAULTS, LoadFailed) as error:
                newest = self._models[name].newest.identity.digest
                self._numbers[name].failed(str(error))
                self._log.error(
                    "a new version of a model cannot be served; the one that serves goes on",
                    extra={"model": name, "serves": newest, "cause": str(error)},
                )
                self._tell(name, failed=True)
                raise LoadFailed(str(error)) from error
            except BaseException:
                self._numbers[name].failed("loading it was given up")
                raise
            if begun:
                self._tell(name, failed=False)

    async def _try(self, name: str) -> None:
        try:
            await self.renew(name)
        except LoadFailed:  # logged, counted and shown where it was raised
            return

    async def _begin(self, name: str) -> bool:
        """Whether another version serves now than before."""
        if self._observer is None:
            raise LoadFailed("the server is still starting: try again")
        if name not in self._sources:
            raise LoadFailed("this server was given the model itself, not a folder to look into")
        versions, source = self._models[name], self._sources[name]
        manifest = await asyncio.to_thread(source.manifest)
        digest = manifest.digest()
        if digest == versions.identity.digest:
            self._numbers[name].as_it_was()
            return False
        self._check(name, manifest)
        known = versions.pinned(digest)
        if known is None:
            known = await self._beside(name, source, digest)
        versions.succeed(known)
        self._numbers[name].serves(known)
        about = {"model": name, "digest": digest, "version": self._numbers[name].number(digest)}
        self._log.info("another version of a model serves what is new", extra=about)
        return True

    async def _beside(self, name: str, source: Source, digest: str) -> Version:
        """Load a version that is not there. Raises what the folder, the model and the budget say."""
        assert self._observer is not None, "looked at before"
        if len(self._models[name].loaded) >= MOST_LOADED:
            raise LoadFailed(f"{MOST_LOADED} versions are loaded: unload the older ones first, or wait until they are")
        self._numbers[name].loads(digest)
        model = await asyncio.to_thread(source.load)
        if model.identity.digest != digest:
            if isinstance(model, Releasable):
                model.release()
            raise LoadFailed("the folder changed while it was read: try again")
        version = await self._engines.begin(model, model.identity, self._observer.engine_of(name))
        self._observer.loaded(version)
        return version

    def _check(self, name: str, manifest: Manifest) -> None:
        """What another version may not change. Raises LoadFailed."""
        if manifest.name != name:
            raise LoadFailed(
                f"the folder holds {manifest.name!r} now; a folder keeps its model's name: serve that one with another "
                "server, or change `name` in its manifest.json"
            )
        there, serves = (manifest.vocabulary, manifest.vocabulary_size), ("bytes", self._vocabularies[name])
        if there != serves:
            raise LoadFailed(
                f"its vocabulary is {there[1]} {there[0]}, that of the version that serves {serves[1]} {serves[0]}: "
                "sessions could not be read by both; give the model another name"
            )

    async def _retire(self, version: Version) -> None:
        identity = version.identity
        about = {"model": identity.name, "digest": identity.digest}
        if await self._engines.retire(version):
            self._log.info("an older version of a model was unloaded", extra=about)
        else:
            self._log.error("an older version of a model does not return, and stays in memory", extra=about)
        self._numbers[identity.name].unloaded(identity.digest)
        if self._observer is not None and self._models[identity.name].pinned(identity.digest) is None:
            self._observer.unloaded(version)

    def _check_caller(self, tenant: Tenant) -> None:
        if tenant != self._config.admin:
            raise loading_is_off(named=self._config.admin is not None)

    def _tell(self, name: str, *, failed: bool) -> None:
        if self._observer is not None:
            self._observer.load_ended(name, failed=failed)


class _Watched:
    """What was seen of a folder: at the last look, and when it was last tried."""

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._tried: Hashable = None

    def is_due(self, signature: Hashable) -> bool:
        """Whether it has changed since it was tried, and has been the same for two looks."""
        settled, self._seen = signature == self._seen, signature
        if signature is None or not settled or signature == self._tried:
            return False
        self._tried = signature
        return True
