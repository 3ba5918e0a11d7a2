"""Whatever a store is asked in whatever order, it answers as the one in memory does; also after it was opened again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from service.errors import CarouselError
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice
from service.sessions.stores.memory import MemoryStore
from tests.contract.making import STORES, Made

keys = st.builds(
    SessionKey, st.sampled_from([Tenant("default"), Tenant("tä}n{t")]), st.sampled_from([*map(SessionId, "abc")])
)
texts = st.text(st.sampled_from("ab\x00é😀\n"), max_size=6)
incarnations = st.sampled_from([1, 2, 2**63 - 1])
counts = st.integers(1, 5)


class StoreMachine(RuleBasedStateMachine):
    """One store beside the model; both are asked the same, and must answer and refuse alike."""

    name = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.model = MemoryStore()
        self.written: dict[SessionKey, list[EditRecord]] = {}  # of the session that lives, all of its records
        self.kept: dict[SessionKey, int] = {}  # how many of the last of them a store must still have
        self.number = 0

    @initialize()
    def open(self) -> None:
        self.closing = AsyncExitStack()
        made = STORES[self.name](self.folder, Made(), Keeping())
        self.store: Store = self.runner.run(self.closing.enter_async_context(made))

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer of both, which is one."""

        async def outcome(store: Store) -> Any:
            try:
                return await getattr(store, method)(*arguments)
            except CarouselError as error:
                return type(error)

        expected = self.runner.run(outcome(self.model))
        assert self.runner.run(outcome(self.store)) == expected
        return expected

    def record(self, revision: int, text: str, count: int = 1) -> EditRecord:
        """The next record; no two are alike."""
        self.number += 1
        known = KnownEdit(f"edit {self.number}", self.number.to_bytes(16), revision, self.number, 0)
        return EditRecord(known, tuple(Splice(index, text[:1], text, 0, 1) for index in range(count)))

    def write(self, key: SessionKey, record: EditRecord) -> None:
        """Take down what the store was given."""
        self.written[key].append(record)
        self.kept[key] += 1

    def fence(self, key: SessionKey) -> Fence | None:
        stored = self.runner.run(self.model.load(key))
        return None if stored is None else stored.fence

    def checkpoint(self, key: SessionKey, fence: Fence, text: str, history: int) -> Checkpoint:
        """After all that was written, with so many of the last records in its history: of those still kept."""
        records = self.written[key][-history:] if history else []
        self.kept[key] = len(records)
        known = tuple(record.known for record in self.written[key][-4:])
        return Checkpoint(fence.incarnation, fence.revision, "m", b"made", text, 0, known, tuple(records))

    @rule(key=keys, incarnation=incarnations, text=texts, history=st.integers(0, 3))
    def create(self, key: SessionKey, incarnation: int, text: str, history: int) -> None:
        records = [self.record(2 + index, text) for index in range(history)]
        known = tuple(record.known for record in records[1:])
        checkpoint = Checkpoint(incarnation, 1 + history, "m", b"made", text, 0, known, tuple(records))
        if self.ask("create", key, checkpoint):
            self.written[key] = records
            self.kept[key] = len(records)

    @rule(key=keys, text=texts, count=counts, history=st.none() | st.integers(0, 5))
    def append(self, key: SessionKey, text: str, count: int, history: int | None) -> None:
        fence = self.fence(key)
        if fence is None:
            return
        record = self.record(fence.revision + 1, text, count)
        self.write(key, record)
        after = Fence(fence.incarnation, fence.revision + 1)
        checkpoint = None
        if history is not None:  # of a checkpoint; it brings nothing back that an earlier one has dropped
            checkpoint = self.checkpoint(key, after, text, min(history, self.kept[key]))
        assert self.ask("append", key, fence, record, checkpoint) is None

    @rule(key=keys, incarnation=incarnations, revision=st.integers(0, 6), text=texts)
    def append_on_a_fence_that_may_be_wrong(self, key: SessionKey, incarnation: int, revision: int, text: str) -> None:
        right = self.fence(key) == Fence(incarnation, revision)
        record = self.record(revision + 1, text)
        outcome = self.ask("append", key, Fence(incarnation, revision), record)
        assert (outcome is None) == right
        if right:
            self.write(key, record)

    @rule(key=keys, count=counts, broken=st.none() | st.integers(0, 4), text=texts)
    def pipeline(self, key: SessionKey, count: int, broken: int | None, text: str) -> None:
        """Edits of which none waits for the one before; from the broken one on, all are refused."""
        fence = self.fence(key)
        if fence is None:
            return
        records = [self.record(fence.revision + 1 + index, text) for index in range(count)]
        fences = [
            Fence(fence.incarnation, record.revision - (2 if index == broken else 1))
            for index, record in enumerate(records)
        ]

        async def all_at_once(store: Store) -> list[type]:
            appends = (store.append(key, one, record) for one, record in zip(fences, records, strict=True))
            return [type(one) for one in await asyncio.gather(*appends, return_exceptions=True)]

        outcomes = self.runner.run(all_at_once(self.model))
        assert self.runner.run(all_at_once(self.store)) == outcomes
        for record, one in zip(records, outcomes, strict=True):
            if one is type(None):
                self.write(key, record)

    @rule(key=keys, incarnation=incarnations)
    def delete(self, key: SessionKey, incarnation: int) -> None:
        self.ask("delete", key, incarnation)

    @rule(key=keys)
    def rest(self, key: SessionKey) -> None:
        self.model.rest(key)
        self.store.rest(key)

    @rule(key=keys, incarnation=incarnations, snapshot=st.binary(max_size=6))
    def put_a_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        assert self.ask("put_snapshot", key, incarnation, snapshot) is None

    @rule(key=keys, limit=counts)
    def page(self, key: SessionKey, limit: int) -> None:
        def seen(page: Any) -> list[Any]:
            return [one[:4] for one in page]  # all but the time

        expected = seen(self.runner.run(self.model.page(key.tenant, key.id, limit)))
        assert seen(self.runner.run(self.store.page(key.tenant, key.id, limit))) == expected

    @rule()
    def open_again(self) -> None:
        if self.store.durable(SessionKey(Tenant("default"), SessionId("a"))):
            self.runner.run(self.closing.aclose())
            self.open()

    @invariant()
    def both_keep_the_same(self) -> None:
        if hasattr(self, "store"):
            for tenant in ("default", "tä}n{t"):
                for id_ in "abc":
                    key = SessionKey(Tenant(tenant), SessionId(id_))
                    self.ask("load", key)
                    fence = self.fence(key)
                    self.ask("get_snapshot", key, 1 if fence is None else fence.incarnation)

    def teardown(self) -> None:
        if hasattr(self, "closing"):
            self.runner.run(self.closing.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("name", list(STORES))
def test_a_store_answers_as_the_store_in_memory_does(name: str) -> None:
    machine = type(f"{name.title()}Machine", (StoreMachine,), {"name": name})
    examples = settings.default.max_examples // 4 if settings.default else 25
    bounded = settings(max_examples=examples, stateful_step_count=25)
    with ThreadPoolExecutor(1) as apart:  # the machine runs loops of its own: whatever this thread's loop is at
        apart.submit(run_state_machine_as_test, machine, settings=bounded).result()
