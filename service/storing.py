"""The store that the settings name: opened on a thread while the model loads, and swept while the server runs."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import assert_never

from service.errors import Unavailable
from service.sessions.keeping import Keeping
from service.sessions.limits import Limits
from service.sessions.ports import Store
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.opening import CannotOpen
from service.sessions.stores.sqlite import SqliteStore
from service.sessions.stores.unstored import UnstoredApart
from service.settings import StoreConfig

_AWAKE_OVER_A_STORE = 2048  # to wake one costs a read there, which is ten times what it costs in memory
_SWEEP_EVERY_S = 60.0
_BETWEEN_SWEEPS_S = 0.01  # for everybody else, while there is much to sweep
_SNAPSHOTS_EVERY_S = 2.0  # who has typed nothing for so long is at rest
_LAST_SNAPSHOTS_S = 5.0


class Opening:
    """A store that is being opened; a SQLite file is, on its own thread, from the moment that this is made."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._keeping = Keeping(config.retention_s, config.sessions_per_tenant, config.bytes_per_tenant)
        self._file = self._begun() if config.kind == "sqlite" else None
        self._taken = False

    @property
    def config(self) -> StoreConfig:
        """What is opened."""
        return self._config

    def take(self) -> Store:
        """The store, which its taker closes. Waits for the file. Raises CannotOpen."""
        self._taken = True
        match self._config.kind:
            case "memory":
                return MemoryStore(self._keeping)
            case "sqlite":
                assert self._file is not None  # begun with the opening
                self._file.opened()
                return self._beside_unstored(self._file)
            case "valkey":
                return self._beside_unstored(self._shared())
        assert_never(self._config.kind)

    async def give_up(self) -> None:
        """Close what was opened, unless it was taken."""
        if self._file is not None and not self._taken:
            await self._file.close()

    def _begun(self) -> SqliteStore:
        assert self._config.path is not None  # as its kind says
        return SqliteStore(self._config.path, acknowledge=self._config.acknowledge, keeping=self._keeping)

    def _shared(self) -> Store:
        try:
            from service.sessions.stores.valkey import ValkeyStore  # whoever keeps sessions elsewhere need not have it
        except ModuleNotFoundError as error:
            raise CannotOpen(f"valkey:// needs {error.name}, which is not installed: pip install redis") from error
        config = self._config
        assert config.url is not None and config.acknowledge != "memory"  # as the settings saw to
        return ValkeyStore(config.url, password=config.password, acknowledge=config.acknowledge, keeping=self._keeping)

    def _beside_unstored(self, store: Store) -> Store:
        return UnstoredApart(
            store,
            most_unstored=max(self._config.max_sessions // 2, 1),
            keeping=Keeping(retention_s=self._config.retention_s),
        )


def max_awake(config: StoreConfig) -> int:
    """How many sessions are awake: see `sessions.holding`."""
    return Limits().max_awake if config.kind == "memory" else _AWAKE_OVER_A_STORE


async def snapshot_for_ever(sessions: Sessions, every_s: float = _SNAPSHOTS_EVERY_S) -> None:
    """Keep states beside texts where that is due, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        await _snapshot(sessions)


async def last_snapshots(sessions: Sessions, within_s: float = _LAST_SNAPSHOTS_S) -> None:
    """At the end, once nobody types any more: for at most a few seconds, as they are a shortcut only."""
    try:
        async with asyncio.timeout(within_s):
            await _snapshot(sessions, last=True)
    except TimeoutError:
        logging.getLogger("carousel.store").info("not every state was kept: the store takes its time")


async def _snapshot(sessions: Sessions, *, last: bool = False) -> None:
    try:
        await sessions.write_snapshots(partial(asyncio.sleep, 0), last=last)
    except Exception:  # a bug: texts are kept without it
        logging.getLogger("carousel.store").exception("states could not be kept")


async def sweep_for_ever(sessions: Sessions) -> None:
    """Forget sessions whose time is over, some at a time, until it is cancelled."""
    while True:  # noqa: ASYNC110  time has to pass: there is no event that would tell
        await asyncio.sleep(_BETWEEN_SWEEPS_S if await _sweep(sessions) else _SWEEP_EVERY_S)


async def _sweep(sessions: Sessions) -> bool:
    try:
        return await sessions.sweep()
    except Unavailable as error:
        logging.getLogger("carousel.store").warning("no session was swept", extra={"fault": str(error)})
        return False


def where_text_is_kept(config: StoreConfig) -> str:
    """The sentence of start-up about what happens to what is typed."""
    to_keep_none = 'To keep none: --store memory:, or "store_text": false for one session.'
    match config.kind:
        case "memory":
            return "Typed text is kept in memory only: nothing is written, and it is gone when the server ends."
        case "sqlite" | "valkey":
            return f"Typed text is kept in {config.described}\n{_how_long(config)}.\n{to_keep_none}"
    assert_never(config.kind)


def _how_long(config: StoreConfig) -> str:
    if config.retention_s is None:
        return "until it is deleted; with --retention 30d, at most so long after its last edit"
    return f"until it is deleted, at most {config.retention_s:g} seconds after its last edit"
