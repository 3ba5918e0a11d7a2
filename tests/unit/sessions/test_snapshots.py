"""States kept beside texts: when they are written, who goes on from one, and that nothing about one is ever an error.

The fake engine refuses a state of another text, and a `kept` that is not true.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.held_state import HeldState
from service.engine.requests import ModelIdentity, SuggestSpec
from service.errors import Unavailable
from service.sessions.commands import (
    CreateSession,
    Delete,
    DeleteSession,
    Insert,
    MoveCursor,
    Replace,
    SessionId,
    UndoTo,
)
from service.sessions.limits import Limits
from service.sessions.records import SessionKey
from service.sessions.snapshots import read_snapshot, write_snapshot
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.unstored import UnstoredApart
from tests.unit.sessions.rooms import TENANT, Room, now
from tests.unit.sessions.test_parking import LastingMemory
from tests.unit.sessions.waiting_store import Pause, Running

IDENTITY = ModelIdentity("python", "d" * 64, "n1")
TEXT = "déjà vu, 😀 " * 20
LIMITS = Limits(snapshot_gain=50, snapshot_every=200, snapshot_before_cursor=8)
S = SessionId("s")
KEY = SessionKey(TENANT, S)


class LosingStore(LastingMemory):
    """A store that fails with snapshots while `down`, and counts what is asked of it."""

    down = False
    asked = 0
    put = 0

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        self.put += 1
        if self.down:
            raise Unavailable("down", 1.0)
        await super().put_snapshot(key, incarnation, snapshot)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        self.asked += 1
        if self.down:
            raise Unavailable("down", 1.0)
        return await super().get_snapshot(key, incarnation)


async def pause() -> None:
    """Nothing to wait for."""


def room_of(store: MemoryStore | UnstoredApart | None = None, limits: Limits = LIMITS) -> Room:
    return Room(limits, LosingStore() if store is None else store)


def write(room: Room, *, last: bool = False) -> int:
    return now(room.sessions.write_snapshots(pause, last=last))


def restarted(room: Room, limits: Limits = LIMITS) -> Room:
    return Room(limits, room.store)


def snapshot_in(room: Room, incarnation: int = 1) -> bytes:
    kept = now(room.store.get_snapshot(KEY, incarnation))
    assert kept is not None
    return kept


# --- the lasting form ------------------------------------------------------------------------------------------------


def held(depth: int = 9) -> HeldState:
    states: list[NDArray[Any]] = [np.arange(8, dtype=np.uint8), np.linspace(-1, 1, 3, dtype=np.float32)]
    return HeldState(depth, states, np.array([3, 1], np.uint8), np.array([-0.5, -2.0], np.float32))


@given(st.text(min_size=4), st.integers(1, 4))
def test_a_snapshot_is_read_as_it_was_written(text: str, depth: int) -> None:
    written = text.encode()
    read = read_snapshot(write_snapshot(held(depth), IDENTITY, written), IDENTITY, written + b"more")
    assert read is not None
    assert read.depth == depth
    for mine, other in zip(read.states, held().states, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(read.top_tokens, held().top_tokens)
    np.testing.assert_array_equal(read.top_log_probabilities, held().top_log_probabilities)


def test_its_form_is_frozen() -> None:
    """Files and replicas of other versions hold it: a change is another form."""
    written = write_snapshot(held(), IDENTITY, b"some text")
    line, _, rest = written.partition(b"\n")
    assert json.loads(line) == {
        "form": 1,
        "model": "d" * 64,
        "numerics": "n1",
        "bytes": 9,
        "text": blake2b(b"some text", digest_size=32).hexdigest(),
        "tensors": [["uint8", 8], ["float32", 3], ["uint8", 2], ["float32", 2]],
    }
    assert rest[:-32] == (
        bytes(range(8)) + np.array([-1, 0, 1], "<f4").tobytes() + b"\3\1" + np.array([-0.5, -2], "<f4").tobytes()
    )
    assert rest[-32:] == blake2b(written[:-32], digest_size=32).digest()


@given(st.data())
def test_a_snapshot_with_any_byte_changed_cut_or_added_is_none(data: st.DataObject) -> None:
    written = bytearray(write_snapshot(held(), IDENTITY, b"some text"))
    at = data.draw(st.integers(0, len(written) - 1))
    match data.draw(st.sampled_from(["change", "cut", "add"])):
        case "change":
            written[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del written[at]
        case _:
            written.insert(at, data.draw(st.integers(0, 255)))
    assert read_snapshot(bytes(written), IDENTITY, b"some text") is None


@given(st.binary(max_size=100))
def test_anything_else_is_none(data: bytes) -> None:
    assert read_snapshot(data, IDENTITY, b"some text") is None
    assert read_snapshot(data + blake2b(data, digest_size=32).digest(), IDENTITY, b"some text") is None


@pytest.mark.parametrize(
    "change",
    [
        {"form": 2},
        {"form": None},
        {"model": "e" * 64},
        {"numerics": "n2"},
        {"bytes": 0},
        {"bytes": -9},
        {"bytes": 10},
        {"bytes": "many"},
        {"text": "00"},
        {"tensors": []},
        {"tensors": [["object", 8], ["float32", 3], ["uint8", 2], ["float32", 2]]},
        {"tensors": [["uint8", 9], ["float32", 3], ["uint8", 2], ["float32", 2]]},
        {"tensors": [["uint8", -1], ["float32", 3], ["uint8", 2], ["float32", 2]]},
        {"tensors": [["uint8", 8], ["float32", 3], ["uint8", 2]]},
        {"tensors": "uint8"},
    ],
)
def test_a_snapshot_that_is_whole_but_of_something_else_is_none(change: dict[str, Any]) -> None:
    line, _, rest = write_snapshot(held(), IDENTITY, b"some text").partition(b"\n")
    body = json.dumps({**json.loads(line), **change}).encode() + b"\n" + rest[:-32]
    assert read_snapshot(body + blake2b(body, digest_size=32).digest(), IDENTITY, b"some text") is None


def test_a_snapshot_of_text_that_has_changed_is_none() -> None:
    written = write_snapshot(held(), IDENTITY, b"some text")
    assert read_snapshot(written, IDENTITY, b"same text") is None
    assert read_snapshot(written, IDENTITY, b"some tex") is None


# --- when they are written -------------------------------------------------------------------------------------------


def test_who_rests_is_written_once_and_who_types_only_when_much_was_gained() -> None:
    room = room_of()
    room.create(TEXT[:150], "s")
    assert [write(room) for _ in range(4)] == [0, 1, 0, 0]  # seen, at rest since then, and nothing new
    for revision in range(1, 5):
        room.edit(S, revision, Insert("x" * 45))
        assert write(room) == 0
    room.edit(S, 5, Insert("x" * 45))
    assert write(room) == 1
    room.edit(S, 6, Insert("x" * 20))
    assert [write(room) for _ in range(3)] == [0, 0, 0]


def test_at_the_end_all_are_written_that_have_gained_something() -> None:
    room = room_of()
    for name in "abc":
        room.create(TEXT, name)
    room.create("short", "d")
    assert write(room, last=True) == 3
    assert write(room, last=True) == 0


@pytest.mark.parametrize(
    "edit", [MoveCursor(0), Replace(3, 4, "x"), Delete(len(TEXT)), UndoTo(1)], ids=lambda edit: type(edit).__name__
)
def test_what_is_changed_before_the_state_makes_the_next_one_due(edit: Any) -> None:
    room = room_of()
    room.create("", "s")
    room.edit(S, 1, Insert(TEXT))
    assert write(room, last=True) == 1
    room.edit(S, 2, edit)
    room.edit(S, 3, Insert(TEXT))
    assert write(room, last=True) == 1
    other = restarted(room)
    other.edit(S, 4, Insert("!"))
    assert len(other.suggester.restored) == 1


def test_a_few_bytes_before_the_cursor_are_left_out_and_characters_are_whole() -> None:
    room = room_of()
    room.create(TEXT, "s")
    write(room, last=True)
    other = restarted(room)
    other.edit(S, 1, Insert("!"))
    (restored,) = other.suggester.restored
    assert 8 <= len(TEXT.encode()) - len(restored) <= 8 + 3
    assert TEXT.startswith(restored.decode())


def test_while_a_session_does_not_come_to_its_pause_it_is_passed_over_if_it_is_gone() -> None:
    room = room_of()
    room.create(TEXT, "s")
    room.create(TEXT, "t")

    async def waits() -> None:
        await Pause()

    writing = Running(room.sessions.write_snapshots(waits, last=True))
    writing.step()
    now(room.sessions.delete(TENANT, DeleteSession(S)))
    while not writing.done:
        writing.step()
    assert (writing.error, writing.result) == (None, 1)


def test_nothing_is_kept_of_what_is_not_to_be_written_nor_in_a_store_that_is_memory_nor_if_that_is_wanted() -> None:
    store = LosingStore()
    apart = room_of(UnstoredApart(store, most_unstored=3))
    now(apart.sessions.create(TENANT, CreateSession(TEXT, S, store_text=False)))
    in_memory = Room(LIMITS)
    in_memory.create(TEXT, "s")
    off = Limits(snapshots=False, snapshot_gain=50, snapshot_before_cursor=8)
    unwanted = room_of(store, off)
    unwanted.create(TEXT, "t")
    assert [write(room, last=True) for room in (apart, in_memory, unwanted)] == [0, 0, 0]
    restarted(unwanted, off).edit(SessionId("t"), 1, Insert("!"))
    assert (store.put, store.asked) == (0, 0)


def test_a_store_that_fails_is_not_asked_again_at_once_and_is_tried_later() -> None:
    store = LosingStore()
    room = room_of(store)
    for name in "abc":
        room.create(TEXT, name)
    store.down = True
    assert write(room, last=True) == 0
    assert store.put == 1
    store.down = False
    assert write(room, last=True) == 3


def test_a_session_that_has_rested_knows_what_was_kept_of_it() -> None:
    room = room_of(limits=Limits(max_awake=1, snapshot_gain=50, snapshot_before_cursor=8))
    room.create(TEXT, "s")
    write(room, last=True)
    for name in "abcdefgh":
        room.create("", name)
    room.get(S)
    assert write(room, last=True) == 0
    assert not room.suggester.restored


# --- who goes on from one --------------------------------------------------------------------------------------------


def test_a_take_over_goes_on_from_the_snapshot_and_tells_the_engine_the_rest() -> None:
    room = room_of()
    room.create(TEXT, "s")
    write(room, last=True)
    room.edit(S, 1, Insert("since then"))
    other = restarted(room)
    assert other.edit(S, 2, Insert("!"), suggest=SuggestSpec(2)).suggestions
    (restored,) = other.suggester.restored
    assert other.suggester.advances[-1].kept == len(restored)
    assert other.suggester.advances[-1].text == f"{TEXT}since then!".encode()


def test_who_is_parked_goes_on_from_it_too_and_short_texts_are_not_asked_for() -> None:
    store = LosingStore()
    room = room_of(store, Limits(max_sessions=1, snapshot_gain=50, snapshot_before_cursor=8))
    room.create(TEXT, "s")
    write(room, last=True)
    room.create("short", "t")
    assert store.asked == 0
    room.get(S)
    assert (store.asked, len(room.suggester.restored)) == (1, 1)
    room.get(SessionId("t"))
    assert store.asked == 1


@pytest.mark.parametrize("wrong", ["damaged", "of another model", "other numerics", "missing", "store down", "old"])
def test_whatever_is_wrong_with_it_the_text_is_replayed(wrong: str) -> None:
    store = LosingStore()
    room = room_of(store)
    room.create(TEXT, "s")
    write(room, last=True)
    kept = snapshot_in(room)
    if wrong == "damaged":
        now(store.put_snapshot(KEY, 1, kept[:100] + b"!" + kept[101:]))
    elif wrong == "missing":
        now(store.put_snapshot(KEY, 1, b""))
    elif wrong == "old":
        room.edit(S, 1, Replace(0, 1, "D"), MoveCursor(len(TEXT)))
    other = restarted(room)
    if wrong == "of another model":
        other.suggester._identity = ModelIdentity("first", "f" * 64, "fake")
    elif wrong == "other numerics":
        other.suggester._identity = ModelIdentity("first", "0" * 64, "other")
    store.down = wrong == "store down"
    text = room.text(S)
    answer = other.edit(S, other.get(S).revision, Insert("!"), suggest=SuggestSpec(1))
    assert answer.suggestions
    assert not other.suggester.restored
    assert (other.suggester.advances[-1].kept, other.suggester.advances[-1].text) == (0, f"{text}!".encode())


def test_who_types_under_a_newer_version_of_the_model_is_written_anew() -> None:
    room = room_of()
    room.create(TEXT, "s")
    write(room, last=True)
    newer = ModelIdentity("first", "f" * 64, "fake")
    room.suggester._identity = newer
    assert write(room) == 0  # nobody has typed, so the newer version holds nothing of it
    room.edit(S, 1, Insert("x"))
    assert [write(room) for _ in range(3)] == [1, 0, 0]
    other = restarted(room)
    other.suggester._identity = newer
    other.get(S)
    assert len(other.suggester.restored) == 1


def test_a_session_of_another_life_does_not_go_on_from_what_was_kept_of_the_first() -> None:
    room = room_of()
    room.create(TEXT, "s")
    write(room, last=True)
    kept = snapshot_in(room)
    room.delete(S)
    room.create(TEXT, "s")
    assert now(room.store.get_snapshot(KEY, 2)) is None
    now(room.store.put_snapshot(KEY, 1, kept))
    other = restarted(room)
    other.get(S)
    assert not other.suggester.restored
