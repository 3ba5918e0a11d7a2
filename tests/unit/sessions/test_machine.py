"""Sessions under everything that can happen to them at once, against the naive model.

One client types into one session: edits that can be done and edits that cannot, repeated and stale requests, undo,
accepted suggestions, an engine that refuses or fails, rests, and restarts from the store.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.engine.requests import FinishReason, SuggestSpec
from service.errors import CarouselError, InvalidArgument, Overloaded, RevisionConflict
from service.sessions.commands import (
    Accept,
    Edit,
    SessionId,
    SessionView,
    Suggestion,
    UndoTo,
    Units,
)
from service.sessions.edits import PlainEdit
from service.sessions.limits import Limits
from tests.unit.sessions.naive import NaiveRefusal, NaiveText
from tests.unit.sessions.rooms import Room, now
from tests.unit.sessions.strategies import edits, edits_with_surrogates, texts, units
from tests.unit.sessions.test_parking import LastingMemory

LIMITS = Limits(max_awake=1, snapshot_gain=1, snapshot_every=2, snapshot_before_cursor=0)

pytestmark = pytest.mark.timeout(600)  # the thorough profile runs ten times as many stories


@dataclass(frozen=True)
class Sent:
    """A request that was applied, and what it was answered."""

    revision: int
    edits: tuple[Edit, ...]
    edit_id: str
    units: Units
    answer: tuple[int, int, int]


class SessionMachine(RuleBasedStateMachine):
    @initialize(text=texts)
    def create(self, text: str) -> None:
        self.room = Room(LIMITS, store=LastingMemory())
        self.neighbour = self.room.create("", "neighbour", model="second").id
        self.naive = NaiveText.of(text)
        self.session: SessionId = self.room.create(text, "s").id
        self.revision = 1
        self.past = {1: self.naive.copy()}
        self.sent: list[Sent] = []
        self.suggestions: tuple[Suggestion, ...] = ()
        self.old_suggestions: tuple[Suggestion, ...] = ()
        self.engine_knows = True

    @rule(plain=st.lists(edits_with_surrogates, min_size=1, max_size=4), unit=units)
    def type_some(self, plain: list[PlainEdit], unit: Units) -> None:
        after = self.naive.copy()
        try:
            for edit in plain:
                after.apply(edit, unit)
        except NaiveRefusal:
            with pytest.raises(InvalidArgument) as refused:
                self._send(tuple(plain), unit)
            assert refused.value.field.startswith("edits[")
            return
        self._applied(tuple(plain), unit, after)

    @rule(data=st.data(), unit=units)
    def undo(self, data: st.DataObject, unit: Units) -> None:
        target = data.draw(st.sampled_from(sorted(self.past)))
        self._applied((UndoTo(target),), unit, self.past[target].copy())

    @rule(plain=st.lists(edits(), min_size=1, max_size=3), data=st.data(), unit=units)
    def undo_after_edits_of_the_same_request(self, plain: list[PlainEdit], data: st.DataObject, unit: Units) -> None:
        tried = self.naive.copy()
        try:
            for edit in plain:
                tried.apply(edit, unit)
        except NaiveRefusal:
            return
        target = data.draw(st.sampled_from(sorted(self.past)))
        self._applied((*plain, UndoTo(target)), unit, self.past[target].copy())

    @rule(ahead=st.integers(1, 3))
    def undo_to_a_revision_to_come_is_refused(self, ahead: int) -> None:
        with pytest.raises(InvalidArgument, match=r"edits\[0\].undo_to"):
            self._send((UndoTo(self.revision + ahead),), Units.CODEPOINT)

    @rule(count=st.integers(1, 4), max_bytes=st.integers(1, 12))
    def ask_for_suggestions(self, count: int, max_bytes: int) -> None:
        view = self.room.edit(self.session, self.revision, suggest=SuggestSpec(count, max_bytes))
        assert view.suggestions is not None
        assert view.revision == self.revision
        if self.room.suggester.refusal or self.room.suggester.failure:
            assert (view.suggestions, view.finish_reason) == ((), FinishReason.SHED)
        else:
            assert view.suggestions
            self.suggestions = view.suggestions
        self._advanced()

    @precondition(lambda self: self.suggestions)
    @rule(data=st.data(), unit=units)
    def accept(self, data: st.DataObject, unit: Units) -> None:
        suggestion = data.draw(st.sampled_from(self.suggestions))
        whole = NaiveText.of(suggestion.text)
        length = data.draw(st.none() | st.integers(-1, whole.length(unit) + 1))
        accept = Accept(suggestion.id, length)
        try:
            end = len(suggestion.text) if length is None else whole.index(length, unit)
        except NaiveRefusal:
            with pytest.raises(InvalidArgument, match=r"edits\[0\]\.accept\.length"):
                self._send((accept,), unit)
            return
        after = self.naive.copy()
        after.characters[after.cursor : after.cursor] = list(suggestion.text[:end])
        after.cursor += end
        self._applied((accept,), unit, after)

    @precondition(lambda self: self.old_suggestions)
    @rule(data=st.data())
    def accept_what_was_suggested_for_another_revision(self, data: st.DataObject) -> None:
        with pytest.raises(RevisionConflict) as refused:
            self._send((Accept(data.draw(st.sampled_from(self.old_suggestions)).id),), Units.CODEPOINT)
        assert refused.value.current == self.revision

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat_a_request(self, data: st.DataObject) -> None:
        sent = data.draw(st.sampled_from(self.sent))
        committed = self.room.commit(
            self.session, sent.revision, *sent.edits, edit_id=sent.edit_id, units=sent.units, suggest=SuggestSpec()
        )
        assert committed.replayed
        assert _answer(committed.view) == sent.answer
        if sent.revision + 1 == self.revision:
            self._advanced()

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), other=texts)
    def use_a_known_id_for_something_else(self, data: st.DataObject, other: str) -> None:
        sent = data.draw(st.sampled_from(self.sent))
        with pytest.raises(RevisionConflict) as refused:
            self.room.commit(self.session, self.revision, UndoTo(self.revision), edit_id=sent.edit_id)
        assert refused.value.current == self.revision

    @rule(base=st.integers(-1, 60), empty=st.booleans())
    def send_from_another_revision(self, base: int, empty: bool) -> None:
        if base == self.revision:
            return
        with pytest.raises(RevisionConflict) as refused:
            self.room.edit(self.session, base, *(() if empty else (UndoTo(self.revision),)))
        assert refused.value.current == self.revision

    @rule(refusing=st.booleans(), failing=st.booleans())
    def change_the_engine_s_health(self, refusing: bool, failing: bool) -> None:
        self.room.suggester.refusal = Overloaded("full", 1.0) if refusing else None
        self.room.suggester.failure = CarouselError("late") if failing else None

    @rule()
    def restart_from_the_store(self) -> None:
        self.room = Room(LIMITS, store=self.room.store)
        self.room.get(self.session)
        self.suggestions = ()
        self.engine_knows = False

    @rule(last=st.booleans())
    def keep_states_beside_the_texts(self, last: bool) -> None:
        async def pause() -> None: ...

        now(self.room.sessions.write_snapshots(pause, last=last))

    @rule()
    def rest_while_the_neighbour_is_asked_for(self) -> None:
        self.room.get(self.neighbour)

    @invariant()
    def the_session_is_what_the_naive_model_is(self) -> None:
        view = self.room.get(self.session)
        assert (view.text, view.cursor) == (self.naive.text, self.naive.cursor)
        assert (view.revision, view.length) == (self.revision, len(self.naive.characters))

    @invariant()
    def the_engine_was_told_what_is_left_of_the_cursor(self) -> None:
        # The fake itself refuses an Advance whose `kept` is not true.
        if self.engine_knows:
            assert self.room.told() == [self.naive.left]

    def _send(self, sent: tuple[Edit, ...], unit: Units) -> SessionView:
        return self.room.edit(
            self.session, self.revision, *sent, edit_id=f"e{self.revision}", units=unit, suggest=SuggestSpec()
        )

    def _applied(self, sent: tuple[Edit, ...], unit: Units, after: NaiveText) -> None:
        note(f"expecting {after}")
        edit_id = f"e{self.revision}"
        view = self._send(sent, unit)
        expected = (self.revision + 1, after.length(unit), after.cursor_in(unit))
        assert _answer(view) == expected
        self.sent.append(Sent(self.revision, sent, edit_id, unit, expected))
        self.naive, self.revision = after, self.revision + 1
        self.past[self.revision] = after.copy()
        self.old_suggestions, self.suggestions = (*self.old_suggestions, *self.suggestions)[-8:], view.suggestions or ()
        self._advanced()

    def _advanced(self) -> None:
        self.engine_knows = self.room.suggester.refusal is None


def _answer(view: SessionView) -> tuple[int, int, int]:
    return view.revision, view.length, view.cursor


TestSessions = SessionMachine.TestCase
TestSessions.settings = settings(stateful_step_count=30)
