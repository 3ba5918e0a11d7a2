"""Sequences of models of tensors over every store: the log that is kept gives back the very state."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from service.errors import QuotaExceeded
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.limits import Limits
from service.sessions.number_logs import NumberLogs
from service.sessions.ports import Store
from service.sessions.records import SessionKey
from service.tensors.fake_reader import FakeReader, fake_series
from service.tensors.running import Runner
from service.tensors.sequences import Read, Sequences
from tests.contract.making import Made

KEY = SessionKey(Tenant("tenant"), SessionId("sequence.6.series.i.1"))
STEPS = 30


def _process(store: Store) -> Sequences:
    """The sequences of a process that has just been started."""
    logs = NumberLogs(store, new_incarnation=lambda: secrets.randbits(63), limits=Limits(checkpoint_every=4))
    return Sequences(logs, Runner(max_waiting=8), budget_bytes=1 << 20)


async def _said(read: Read) -> list[float]:
    told: list[float] = read.said[:, 0, 0].tolist()
    return told


async def _send(process: Sequences, step: int, key: SessionKey = KEY) -> list[float] | None:
    values = np.array([[[step + 0.25]]], np.float32)
    if step:
        return await process.append(fake_series(), key, values, further=_said, last=False)
    return await process.begin(fake_series(), key, values, further=_said)


async def test_processes_that_take_turns_answer_as_one_that_was_sent_all_at_once(store: Store) -> None:
    found: list[float] = []
    process = _process(store)
    for step in range(STEPS):
        if step % 7 == 6:
            process = _process(store)
        told = await _send(process, step)
        assert told is not None
        found += told
    reader = FakeReader()
    values = (np.arange(STEPS) + 0.25).astype(np.float32).reshape(-1, 1, 1)
    expected, _ = reader.read_chunk(values, reader.initial_states(1))
    assert found == expected[:, 0, 0].tolist()
    stored = await store.load(KEY)
    assert stored is not None
    assert len(stored.records) < 4, "now and then the log is one piece"
    await process.forget(KEY)
    assert await store.load(KEY) is None
    assert await _send(process, 1) is None


@pytest.mark.parametrize("keeping", [Keeping(sessions_per_tenant=1)], indirect=False)
async def test_a_tenant_s_quota_counts_its_sequences(store: Store, keeping: Keeping) -> None:
    process = _process(store)
    await _send(process, 0)
    with pytest.raises(QuotaExceeded):
        await _send(process, 0, SessionKey(KEY.tenant, SessionId("sequence.6.series.i.2")))
    await _send(process, 0)  # begun anew in its own place


@pytest.mark.parametrize("keeping", [Keeping(retention_s=60)], indirect=False)
async def test_a_sequence_that_nobody_went_on_with_is_gone_after_its_time(
    made_and_store: tuple[Store, Made], keeping: Keeping
) -> None:
    store, made = made_and_store
    process = _process(store)
    await _send(process, 0)
    if not made.tells_what_is_swept:
        pytest.skip("its keys expire by the server's own clock")
    made.now_s += 61
    for _ in range(2):  # a round of looking at them may have begun before it was there
        await store.sweep(10)
    assert await _send(process, 1) is None, "although its state was in memory"
