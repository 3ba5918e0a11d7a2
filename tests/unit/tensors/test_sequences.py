"""Sequences: the same as the series at once, whatever the cuts, restarts, evictions and other writers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.ports import ModelError, States
from service.errors import DeadlineExceeded, Fenced, InvalidArgument, Overloaded, Unavailable
from service.model.words import Words
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.limits import Limits
from service.sessions.number_logs import NumberLogs
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession
from service.sessions.stores.memory import MemoryStore
from service.tensors.fake_reader import FakeReader, fake_series
from service.tensors.ports import Inputs, Numbers, TensorModel
from service.tensors.running import Runner
from service.tensors.sequences import Read, Sequences, read_back, written

KEY = SessionKey(Tenant("default"), SessionId("one"))
LARGE = 1 << 20
_INCARNATIONS = count(1000)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


class SharedStore(MemoryStore):
    """A store that other processes may write, too."""

    @property
    def shared(self) -> bool:
        return True


class Room:
    """Sequences over a store; another Room over the same store is another process."""

    def __init__(self, store: MemoryStore | None = None, *, budget_bytes: int = LARGE, limits: Limits | None = None):
        self.store = store or MemoryStore(Keeping())
        logs = NumberLogs(self.store, new_incarnation=lambda: next(_INCARNATIONS), limits=limits or Limits())
        self.runner = Runner(max_waiting=8)
        self.sequences = Sequences(logs, self.runner, budget_bytes=budget_bytes)
        self.reader = FakeReader()
        self.model = TensorModel(self.reader, Numbers(1))

    async def begin(self, *values: float, key: SessionKey = KEY) -> NDArray[np.float32]:
        return await self.sequences.begin(self.model, key, series(*values), further=said)

    async def append(self, *values: float, key: SessionKey = KEY, last: bool = False) -> NDArray[np.float32] | None:
        return await self.sequences.append(self.model, key, series(*values), further=said, last=last)


async def said(read: Read) -> NDArray[np.float32]:
    return read.said[:, 0, 0]


def series(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)


def at_once(*values: float) -> list[float]:
    reader = FakeReader()
    outputs, _ = reader.read_chunk(series(*values), reader.initial_states(1))
    return [float(one) for one in outputs[:, 0, 0]]


def now(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


@given(
    st.lists(NUMBERS, min_size=1, max_size=12),
    st.lists(st.integers(1, 11), max_size=4),
    st.sampled_from(["the same process", "restarts", "no memory"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_series_in_any_pieces_is_the_series_at_once(
    values: list[float], cuts: list[int], where: str, shared: bool
) -> None:
    async def work() -> None:
        edges = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
        room = Room(SharedStore(Keeping()) if shared else None, budget_bytes=0 if where == "no memory" else LARGE)
        found: list[float] = []
        for place, (start, end) in enumerate(pairwise(edges)):
            if where == "restarts":
                room = Room(room.store)
            outputs = await (room.append if place else room.begin)(*values[start:end])
            assert outputs is not None
            found += outputs.tolist()
        assert found == at_once(*values)

    now(work)


def test_a_kept_state_is_not_read_again_and_one_that_gave_way_is() -> None:
    async def work() -> None:
        room = Room(budget_bytes=600)  # of one sequence
        other = SessionKey(Tenant("default"), SessionId("two"))
        await room.begin(1.0, 2.0)
        await room.append(3.0)
        assert room.reader.chunks == [(2, 1), (1, 1)]
        await room.begin(5.0, key=other)
        assert len(room.sequences) == 1
        assert room.sequences.state_bytes <= 600
        await room.append(4.0)
        assert room.reader.chunks[-2:] == [(3, 1), (1, 1)], "its log is read again, then the piece"

    now(work)


def test_a_shared_log_is_not_read_for_every_step() -> None:
    class Counting(SharedStore):
        loads = 0

        async def load(self, key: SessionKey) -> StoredSession | None:
            self.loads += 1
            return await super().load(key)

    async def work() -> None:
        store = Counting(Keeping())
        room = Room(store)
        await room.begin(1.0)
        before = store.loads
        for value in range(20):
            await room.append(float(value))
        assert store.loads == before

    now(work)


def test_another_process_that_went_on_is_seen() -> None:
    async def work() -> None:
        store = SharedStore(Keeping())
        here, there = Room(store), Room(store)
        await here.begin(1.0)
        await there.append(2.0)
        outputs = await here.append(3.0)
        assert outputs is not None
        assert outputs.tolist() == at_once(1.0, 2.0, 3.0)[2:]
        ended = await there.append(4.0, last=True)
        assert ended is not None
        assert ended.tolist() == at_once(1.0, 2.0, 3.0, 4.0)[3:]
        assert await here.append(last=True) is None

    now(work)


def test_a_sequence_that_was_begun_anew_elsewhere_is_not_taken_for_the_old_one() -> None:
    async def work() -> None:
        store = SharedStore(Keeping())
        here, there = Room(store), Room(store)
        await here.begin(1.0)
        await there.begin(9.0)
        outputs = await here.append(3.0)
        assert outputs is not None
        assert outputs.tolist() == at_once(9.0, 3.0)[1:]

    now(work)


def test_what_was_never_begun_ended_or_deleted_is_not_there() -> None:
    async def work() -> None:
        room = Room()
        assert await room.append(1.0) is None
        await room.begin(1.0)
        ended = await room.append(2.0, last=True)
        assert ended is not None
        assert ended.tolist() == at_once(1.0, 2.0)[1:]
        assert await room.append(3.0) is None
        assert len(room.sequences) == 0
        logged = await room.begin(1.0)
        assert logged is not None
        stored = await room.store.load(KEY)
        assert stored is not None
        await room.store.delete(KEY, stored.fence.incarnation)
        assert await room.append(2.0) is None

    now(work)


def test_what_cannot_be_answered_is_not_appended() -> None:
    async def refuse(_: Read) -> None:
        raise InvalidArgument("inputs", "no")

    async def work() -> None:
        room = Room()
        await room.begin(1.0)
        with pytest.raises(InvalidArgument):
            await room.sequences.append(room.model, KEY, series(2.0), further=refuse, last=False)
        with pytest.raises(InvalidArgument):
            await room.sequences.append(room.model, KEY, series(2.0), further=refuse, last=True)
        with pytest.raises(DeadlineExceeded):
            await room.sequences.append(room.model, KEY, series(2.0), further=said, last=False, until_s=0.0)
        outputs = await room.append(3.0)
        assert outputs is not None
        assert outputs.tolist() == at_once(1.0, 3.0)[1:]

    now(work)


def test_a_log_that_is_too_long_says_how_to_begin_anew() -> None:
    async def work() -> None:
        room = Room(limits=Limits(max_text_bytes=12))
        await room.begin(1.25)
        await room.append(2.5)
        with pytest.raises(InvalidArgument, match="begin it anew with sequence_start"):
            await room.append(3.25)
        outputs = await room.append(3.5)  # which is as long as is taken
        assert outputs is not None

    now(work)


def test_a_long_sequence_is_one_piece_in_the_store_now_and_then() -> None:
    async def work() -> None:
        room = Room(limits=Limits(checkpoint_every=4))
        await room.begin(0.0)
        for value in range(1, 11):
            await room.append(float(value))
        stored = await room.store.load(KEY)
        assert stored is not None
        assert stored.checkpoint.text.startswith("0.0 1.0 2.0")
        assert len(stored.records) < 4
        outputs = await Room(room.store).append(11.0)
        assert outputs is not None
        assert outputs.tolist() == at_once(*map(float, range(12)))[11:]

    now(work)


@given(st.lists(NUMBERS, max_size=20))
@settings(max_examples=60)
def test_a_log_gives_back_the_very_bits(values: list[float]) -> None:
    inputs = series(*values)
    assert read_back(fake_series(), written(inputs)).tobytes() == inputs.tobytes()


def test_a_log_that_this_model_cannot_have_written_is_refused() -> None:
    words = TensorModel(FakeReader(), Words(("", "a", "b")))
    for model, log in ((fake_series(width=2), "1.0 2.0 3.0"), (fake_series(), "1.0 x"), (words, "1 3"), (words, "1.5")):
        with pytest.raises(InvalidArgument, match="begin it anew"):
            read_back(model, log)


def test_a_long_series_is_written_and_read_back_apart_to_the_same_bits() -> None:
    async def work() -> None:
        months = [one / 7 for one in range(3000)]
        room = Room()
        await room.begin(*months[:2000])
        assert await room.append(*months[2000:]) is not None
        outputs = await Room(room.store).append(0.5)
        assert outputs is not None
        assert outputs.tolist() == at_once(*months, 0.5)[3000:]

    now(work)


def test_the_quota_of_a_tenant_holds_for_logs_too() -> None:
    async def work() -> None:
        room = Room(MemoryStore(Keeping(sessions_per_tenant=1)))
        await room.begin(1.0)
        with pytest.raises(Exception, match="session"):
            await room.begin(1.0, key=SessionKey(Tenant("default"), SessionId("two")))

    now(work)


class _Failing(FakeReader):
    def read_chunk(self, inputs: Inputs, states: States) -> tuple[NDArray[np.float32], States]:
        raise ModelError("not finite")


def test_long_series_run_on_a_thread_piece_by_piece_and_forecasts_go_on_there() -> None:
    async def work() -> None:
        runner, reader = Runner(max_waiting=8), FakeReader()
        values = np.arange(10_000, dtype=np.float32).reshape(-1, 2, 1)
        outputs, states = await runner.read(reader, values, reader.initial_states(2))
        assert len(reader.chunks) > 1
        whole, after = FakeReader().read_chunk(values, reader.initial_states(2))
        assert outputs.tobytes() == whole.tobytes()
        assert states[0].tobytes() == after[0].tobytes()
        for steps in (1, 3, 500):
            forecast = await runner.forecast(reader, outputs[-1], states, steps)
            assert forecast.shape == (steps, 2, 1)
            again, following = [outputs[-1:]], states
            for _ in range(steps - 1):
                one, following = FakeReader().read_chunk(again[-1], following)
                again.append(one)
            assert forecast.tobytes() == np.concatenate(again).tobytes()
        runner.close()

    now(work)


def test_too_many_at_once_are_refused_and_what_is_not_finite_is_the_inputs_fault() -> None:
    async def work() -> None:
        runner, reader = Runner(max_waiting=1), FakeReader()
        values = np.zeros((50_000, 1, 1), np.float32)
        first = asyncio.ensure_future(runner.read(reader, values, reader.initial_states(1)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await runner.read(reader, values, reader.initial_states(1))
        await first
        for steps in (1, 50_000):
            with pytest.raises(InvalidArgument, match="no finite answer"):
                await runner.read(_Failing(), values[:steps], reader.initial_states(1))
        with pytest.raises(DeadlineExceeded):
            await runner.read(reader, values, reader.initial_states(1), until_s=0.0)
        runner.close()

    now(work)


class _Contended(SharedStore):
    """Somebody else always writes in between."""

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        raise Fenced("another replica has written")


def test_who_never_comes_first_is_told_to_try_again() -> None:
    async def work() -> None:
        room = Room(_Contended(Keeping()))
        await room.begin(1.0)
        with pytest.raises(Unavailable, match="try again"):
            await room.append(2.0)

    now(work)
