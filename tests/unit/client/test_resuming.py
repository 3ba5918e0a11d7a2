"""A typing stream whose connection is cut anywhere, against the real sessions: nothing is lost, nothing comes twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carousel_client import (
    Accept,
    Acknowledged,
    Delete,
    Disconnected,
    Edit,
    Insert,
    Internal,
    InvalidArgument,
    MoveCursor,
    NotFound,
    Reconnected,
    Rejected,
    Replace,
    RetryPolicy,
    RevisionConflict,
    Suggested,
    SuggestOptions,
    Unavailable,
    UndoTo,
    Units,
)
from carousel_client.conversation import Conversation
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.opening import attaching, creating
from carousel_client.resuming import Resumption
from carousel_client.text_mirror import CannotFollow, TextMirror
from service.errors import CarouselError as Refusal
from service.errors import Fenced as TakenOver
from service.errors import Overloaded as Full
from service.errors import Unavailable as Down
from service.sessions.commands import Insert as ServerInsert
from service.transport.grpc.failures import status_of
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as server_pb
from tests.unit.client.room import Line, ServerRoom
from tests.unit.client.test_retries import Clock

ASK = SuggestOptions(2, 8)
TEXTS = st.text(alphabet="ab é日👍\n", min_size=1, max_size=4)


class Typing(RuleBasedStateMachine):
    """Keys, cuts and restarts in any order; at the end, and whenever all is answered, the server holds what was typed.

    What is typed is kept here as a list of whole texts with their cursors, one for each edit that will be applied.
    """

    forgets = False

    @initialize(text=TEXTS, units=st.sampled_from(Units))
    def begin(self, text: str, units: Units) -> None:
        self.server = ServerRoom()
        self.units = units
        self.line = Line(self.server, text, recreate=self.forgets, units=units)
        self.past = [(text, len(text))]
        self.first_revision = 1
        self.sent: list[str] = []

    @property
    def now(self) -> tuple[str, int]:
        return self.past[-1]

    def undoable(self) -> int:
        return len(self.past) - 1

    def measure(self, text: str) -> int:
        encoding = {Units.CODEPOINT: "utf-32-le", Units.UTF16: "utf-16-le", Units.UTF8: "utf-8"}[self.units]
        return len(text.encode(encoding)) // {Units.CODEPOINT: 4, Units.UTF16: 2, Units.UTF8: 1}[self.units]

    def press(self, edit: Edit, text: str, cursor: int, suggest: SuggestOptions | None = None) -> None:
        if self.line.talk.may_send:
            self.sent.append(self.line.send(edit, suggest=suggest))
            self.past.append((text, cursor))

    @rule(typed=TEXTS, suggest=st.sampled_from([None, ASK]))
    def type(self, typed: str, suggest: SuggestOptions | None) -> None:
        text, cursor = self.now
        self.press(Insert(typed), text[:cursor] + typed + text[cursor:], cursor + len(typed), suggest)

    @precondition(lambda self: self.now[1] > 0)
    @rule(data=st.data())
    def backspace(self, data: st.DataObject) -> None:
        text, cursor = self.now
        start = data.draw(st.integers(0, cursor - 1))
        self.press(Delete(self.measure(text[start:cursor])), text[:start] + text[cursor:], start)

    @rule(data=st.data(), typed=TEXTS)
    def replace(self, data: st.DataObject, typed: str) -> None:
        text, _ = self.now
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        edit = Replace(self.measure(text[:start]), self.measure(text[:end]), typed)
        self.press(edit, text[:start] + typed + text[end:], start + len(typed))

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        text, _ = self.now
        position = data.draw(st.integers(0, len(text)))
        self.press(MoveCursor(self.measure(text[:position])), text, position)

    @rule(back=st.integers(0, 6))
    def undo(self, back: int) -> None:
        back = min(back, self.undoable())
        revision = self.line.talk.next_revision - back
        self.press(UndoTo(revision), *self.past[-1 - back])

    @rule()
    def ask(self) -> None:
        if self.line.talk.may_send:
            self.line.send(suggest=ASK)

    @rule(many=st.integers(1, 3))
    def serve(self, many: int) -> None:
        for _ in range(many):
            self.line.serve()

    @rule(many=st.integers(1, 3))
    def read(self, many: int) -> None:
        for _ in range(many):
            self.line.read()

    @precondition(lambda self: self.line.connected)
    @rule(arriving=st.integers(0, 3))
    def cut(self, arriving: int) -> None:
        self.line.cut(arriving)

    @rule()
    def reconnect(self) -> None:
        self.line.reconnect()

    @rule()
    def restart(self) -> None:
        if self.line.connected:
            self.line.cut()
        self.server.restart(forgetting=self.forgets)

    @rule()
    def accept(self) -> None:
        """Wait for suggestions, accept one, and let the server forget that it made it, or not."""
        self.line.settle()
        self.line.send(suggest=ASK)
        self.line.settle()
        found = [event for event in self.line.talk.events if isinstance(event, Suggested)][-1]
        if found.suggestions and self.line.talk.may_send:
            text, cursor = self.now
            inserted = found.suggestions[0].text
            edit = Accept(found.suggestions[0].id)
            self.press(edit, text[:cursor] + inserted + text[cursor:], cursor + len(inserted))

    @rule()
    def all_is_answered(self) -> None:
        self.line.settle()
        text, cursor = self.now
        view = self.server.room.get("s", units=self.units)  # type: ignore[arg-type]  # a SessionId is a str
        assert (view.text, view.cursor) == (text, self.measure(text[:cursor]))
        assert (view.revision, view.length) == (self.line.session.revision, self.line.session.length)

    @invariant()
    def nothing_is_rejected_and_nothing_is_acknowledged_twice(self) -> None:
        events = self.line.talk.events
        assert [event for event in events if isinstance(event, Rejected)] == []
        acknowledged = [event.edit_id for event in events if isinstance(event, Acknowledged)]
        assert len(acknowledged) == len(set(acknowledged))

    def teardown(self) -> None:
        if hasattr(self, "line"):
            self.all_is_answered()
            self.nothing_is_rejected_and_nothing_is_acknowledged_twice()
            acknowledged = [event.edit_id for event in self.line.talk.events if isinstance(event, Acknowledged)]
            assert [id_ for id_ in acknowledged if id_ in set(self.sent)] == self.sent


class TypingOnAForgetfulServer(Typing):
    """The same when a restart forgets every session, and the client makes it anew."""

    forgets = True

    def undoable(self) -> int:
        """A session that was made anew has no past; what is unanswered speaks of one that is known here."""
        acknowledged = {event.edit_id for event in self.line.talk.events if isinstance(event, Acknowledged)}
        return len([id_ for id_ in self.sent if id_ not in acknowledged])


TestTyping = Typing.TestCase
TestTyping.settings = settings(max_examples=60, stateful_step_count=30)
TestTypingOnAForgetfulServer = TypingOnAForgetfulServer.TestCase
TestTypingOnAForgetfulServer.settings = settings(max_examples=60, stateful_step_count=30)


def events_of_kind(line: Line, kind: type) -> list[Any]:
    return [event for event in line.talk.events if isinstance(event, kind)]


def test_a_loss_is_told_once_and_so_is_that_the_stream_goes_on() -> None:
    line = Line(ServerRoom(), "a")
    line.send(Insert("b"))
    line.cut(arriving=1)
    for _ in range(2):  # looked for in vain
        line.talk.lost(Unavailable("still"))
    line.settle()
    kinds = [type(event) for event in line.talk.events]
    assert kinds == [Disconnected, Reconnected, Acknowledged]
    assert line.server.text("s") == "ab"


def test_a_session_that_the_server_has_forgotten_is_not_found() -> None:
    line = Line(ServerRoom(), "a")
    line.send(Insert("b"))
    line.cut()
    line.server.restart(forgetting=True)
    with pytest.raises(NotFound):
        line.server.run(line.talk.reconnecting())


def test_it_is_made_anew_with_its_text_and_cursor_if_that_was_asked_for() -> None:
    line = Line(ServerRoom(), "ad", recreate=True)
    line.send(MoveCursor(1))
    line.settle()
    line.send(Insert("b"))
    line.send(UndoTo(2))
    line.send(Insert("c"))
    line.cut(arriving=2)
    line.server.restart(forgetting=True)
    line.settle()
    assert events_of_kind(line, Reconnected) == [Reconnected(recreated=True)]
    assert line.server.text("s") == "acd"
    assert (line.session.revision, line.session.cursor) == (5, 2)


def test_one_that_somebody_else_has_made_anew_and_edited_is_a_conflict() -> None:
    line = Line(ServerRoom(), "a", recreate=True)
    line.cut()
    line.server.restart(forgetting=True)
    other = line.server.room.create("a", "s")
    line.server.room.edit(other.id, 1, ServerInsert("x"))
    steps = line.session.recreating()
    with pytest.raises(RevisionConflict):
        line.server.run(steps)


def test_what_is_forgotten_between_two_calls_is_made_anew_for_reading_and_for_editing() -> None:
    server = ServerRoom()
    session = server.run(creating("s", "ab", None, Units.CODEPOINT, recreate=True, store_text=True))
    server.run(session.editing([MoveCursor(1)], None, None))
    server.restart(forgetting=True)
    server.run(session.editing([Insert("x"), UndoTo(1)], None, None))
    assert (server.run(session.reading()), session.cursor) == ("ab", 2)
    server.restart(forgetting=True)
    assert server.run(session.reading()) == "ab"
    found = server.run(attaching("s", Units.CODEPOINT, recreate=True))
    server.restart(forgetting=True)
    server.run(found.editing([Insert("c")], None, None))
    assert server.text("s") == "abc"


def test_a_suggestion_that_a_restarted_server_has_forgotten_is_inserted() -> None:
    server = ServerRoom()
    session = server.run(creating("s", "say hello", None, Units.CODEPOINT, recreate=False, store_text=True))
    answer = server.run(session.editing([], ASK, None))
    server.restart()
    server.run(session.editing([Accept(answer.suggestions[0].id, 2), Insert("!")], None, None))
    assert server.text("s") == "say hello" + answer.suggestions[0].text[:2] + "!"
    server.restart()
    with pytest.raises(InvalidArgument):
        server.run(session.editing([Accept("never-made")], None, None))


@pytest.mark.parametrize(
    "refusal", [Down("the store is down", 0.2), TakenOver("by another replica"), Full("full", 0.1)]
)
def test_an_edit_that_met_a_passing_trouble_is_sent_again_with_what_was_built_on_it(refusal: Refusal) -> None:
    line = Line(ServerRoom(), "a")
    first, second = line.send(Insert("b")), line.send(Insert("c"))
    rejected = server_pb.TypeResponse(rejected=server_pb.Rejection(edit_id=first, error=status_of(refusal, "r")))
    line.going.popleft()
    line.coming.append(pb.TypeResponse.FromString(rejected.SerializeToString()))
    line.serve()  # the second: built on one that is not there
    line.read()
    assert not line.connected
    assert line.talk.wait_s >= getattr(refusal, "retry_after_s", 0.0)
    line.settle()
    assert line.server.text("s") == "abc"
    assert [event.edit_id for event in events_of_kind(line, Acknowledged)] == [first, second]


def test_what_was_built_on_a_rejected_edit_is_rejected_also_if_the_connection_is_lost_then() -> None:
    line = Line(ServerRoom(), "a")
    bad, dependent = line.send(Delete(99)), line.send(Insert("lost"))
    line.serve()
    line.read()
    good = line.send(Insert("b"))  # its author knows of the rejection
    line.cut(arriving=2)
    line.settle()
    assert line.server.text("s") == "ab"
    rejections = events_of_kind(line, Rejected)
    assert [(event.edit_id, type(event.error)) for event in rejections] == [
        (bad, InvalidArgument),
        (dependent, RevisionConflict),
    ]
    assert [event.edit_id for event in events_of_kind(line, Acknowledged)] == [good]


def test_suggestions_that_were_under_way_are_asked_for_again() -> None:
    line = Line(ServerRoom(), "word")
    edit = line.send(Insert("s"), suggest=ASK)
    line.serve()
    line.read()  # the acknowledgement alone
    line.cut()
    line.settle()
    (suggested,) = events_of_kind(line, Suggested)
    assert (suggested.edit_id, suggested.revision, suggested.finish_reason) == (edit, 2, None)
    assert suggested.suggestions
    assert len(events_of_kind(line, Acknowledged)) == 1


def test_a_message_that_the_client_does_not_know_ends_the_stream() -> None:
    line = Line(ServerRoom(), "a")
    with pytest.raises(Internal):
        line.talk.take(pb.TypeResponse())


def test_a_stream_that_the_server_ends_is_taken_up_again_unless_it_was_finished() -> None:
    line = Line(ServerRoom(), "a")
    with pytest.raises(Unavailable):
        line.talk.take(None)
    line.talk.finished = True
    line.talk.take(None)
    assert line.talk.ended
    with pytest.raises(Unavailable):
        line.send(Insert("b"))


@pytest.mark.parametrize("most", [0, 257])
def test_more_edits_than_a_server_knows_again_may_not_be_unanswered(most: int) -> None:
    session = ServerRoom().run(creating("s", "", None, Units.CODEPOINT, recreate=False, store_text=True))
    with pytest.raises(InvalidArgument, match=r"1\.\.256"):
        Conversation(session, most, Resumption(RetryPolicy(), 1, Clock()))


def test_the_search_for_a_server_ends_with_the_error_of_the_loss_when_its_time_is_up() -> None:
    clock = Clock()
    search = Resumption(RetryPolicy(first_delay_s=1, max_delay_s=4), 10, clock, lambda: 0.0)
    for delay_s in (1, 2, 4):
        assert search.lost(Unavailable("gone")) == delay_s
        clock.now_s += delay_s
    with pytest.raises(Unavailable, match="gone"):
        search.lost(Unavailable("gone"))


def test_a_server_that_answers_again_gets_all_the_time_for_the_next_loss() -> None:
    clock = Clock()
    search = Resumption(RetryPolicy(first_delay_s=1, max_delay_s=1), 3, clock, lambda: 0.0)
    for _ in range(20):
        clock.now_s += search.lost(Unavailable("gone")) + 1
        search.found()
        search.progressed()
    search.lost(Unavailable("gone"))
    search.found()
    clock.now_s += 60  # nothing was owed meanwhile, and it held
    search.lost(Unavailable("gone"))


def test_one_that_breaks_whenever_it_is_found_is_given_up() -> None:
    clock = Clock()
    search = Resumption(RetryPolicy(first_delay_s=1, max_delay_s=1), 5, clock, lambda: 0.0)
    for _ in range(5):
        clock.now_s += search.lost(Unavailable("gone"))
        search.found()
    with pytest.raises(Unavailable):
        search.lost(Unavailable("gone"))


def test_what_no_waiting_helps_is_raised_at_once() -> None:
    search = Resumption(RetryPolicy(), 5, Clock())
    with pytest.raises(NotFound):
        search.lost(NotFound("no session", kind="session"))


def test_a_mirror_that_cannot_follow_has_not_changed() -> None:
    mirror = TextMirror("日x", 3, 5, Units.UTF8)
    for edit in (UndoTo(4), Accept("x"), Delete(2), MoveCursor(9), Replace(0, 1, "")):
        with pytest.raises(CannotFollow):
            mirror.apply([Insert("y"), edit] if not isinstance(edit, Accept) else [edit])
    assert (mirror.text, mirror.cursor, mirror.revision) == ("日x", 3, 5)
