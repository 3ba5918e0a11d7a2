"""The revisions that a stream foresees, against a naive server that applies one message after the other."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import Acknowledged, Answer, Insert, InvalidArgument, Model, Rejected, Suggested, Units
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.session_state import SessionState
from carousel_client.stream_state import StreamState
from service.errors import InvalidArgument as Refusal
from service.errors import RevisionConflict as Conflict
from service.transport.grpc.failures import status_of

REFUSED = "?"


def new_session() -> SessionState:
    return SessionState(Answer("s", 1, 0, 0, Model("m", "d", "n")), Units.CODEPOINT)


class NaiveServer:
    """Holds a text, refuses what is based on another revision and whatever inserts `?`."""

    def __init__(self) -> None:
        self.text, self.revision = "", 1

    def answer(self, request: pb.TypeRequest) -> pb.TypeResponse:
        error: Exception | None = None
        if request.revision != self.revision:
            error = Conflict("stale", self.revision)
        elif any(edit.insert == REFUSED for edit in request.edits):
            error = Refusal("edits[0].insert", "no")
        if error is not None:
            return pb.TypeResponse(rejected=pb.Rejection(edit_id=request.edit_id, error=status_of(error, "r")))
        if request.edits:
            self.text += "".join(edit.insert for edit in request.edits)
            self.revision += 1
        session = pb.Session(id="s", revision=self.revision, length=len(self.text), cursor=len(self.text))
        return pb.TypeResponse(acknowledged=pb.Acknowledgement(edit_id=request.edit_id, session=session))


@given(st.lists(st.sampled_from(["send", "refuse", "empty", "serve", "read"]), max_size=60))
def test_what_is_sent_after_a_rejection_was_read_builds_on_what_was_acknowledged(actions: list[str]) -> None:
    session, server = new_session(), NaiveServer()
    stream = StreamState(session)
    on_the_way: deque[pb.TypeRequest] = deque()
    coming_back: deque[pb.TypeResponse] = deque()
    read_all = True  # whether the client knew all there was to know when it last sent
    for action in [*actions, *["serve", "read"] * 61]:
        if action in ("send", "refuse"):
            read_all = not on_the_way and not coming_back
            on_the_way.append(stream.request([Insert("a" if action == "send" else REFUSED)], None))
            if read_all:
                assert on_the_way[-1].revision == server.revision
        elif action == "empty":
            on_the_way.append(stream.request([], None))
        elif action == "serve" and on_the_way:
            coming_back.append(server.answer(on_the_way.popleft()))
        elif action == "read" and coming_back:
            stream.take(coming_back.popleft())
    assert stream.unanswered == 0
    assert (session.revision, session.length) == (server.revision, len(server.text))
    assert stream.next_revision == server.revision


def test_an_edit_sent_after_a_rejection_is_not_lost_when_the_dependents_of_the_rejected_one_are_rejected() -> None:
    session, server = new_session(), NaiveServer()
    stream = StreamState(session)
    refused, dependent = (stream.request([Insert(text)], None) for text in (REFUSED, "b"))
    answers = [server.answer(refused), server.answer(dependent)]
    assert [type(event) for event in stream.take(answers[0])] == [Rejected]
    anew = stream.request([Insert("c")], None)
    assert [type(event) for event in stream.take(answers[1])] == [Rejected]
    assert stream.next_revision == 2
    assert [type(event) for event in stream.take(server.answer(anew))] == [Acknowledged]
    assert server.text == "c"


def test_an_acknowledgement_settles_the_edits_before_it() -> None:
    stream, server = StreamState(new_session()), NaiveServer()
    requests = [stream.request([Insert(text)], None) for text in "abc"]
    answers = [server.answer(request) for request in requests]
    stream.take(answers[2])
    assert stream.unanswered == 0


def test_an_answer_to_an_edit_that_was_never_sent_settles_nothing() -> None:
    stream = StreamState(new_session())
    stream.request([Insert("a")], None)
    stream.take(pb.TypeResponse(acknowledged=pb.Acknowledgement(edit_id="other", session=pb.Session(revision=2))))
    assert stream.unanswered == 1


def test_what_cannot_be_sent_leaves_no_gap() -> None:
    stream = StreamState(new_session())
    with pytest.raises(InvalidArgument):
        stream.request([Insert("\ud800")], None)
    assert (stream.unanswered, stream.next_revision) == (0, 1)


def test_every_edit_has_an_id_of_its_own() -> None:
    sessions = [new_session() for _ in range(20)]
    ids = {session.new_edit_id() for session in sessions for _ in range(20)}
    assert len(ids) == 400


def test_suggestions_that_acknowledge_their_edit_are_two_events() -> None:
    session, server = new_session(), NaiveServer()
    stream = StreamState(session)
    told = server.answer(stream.request([Insert("a")], None)).acknowledged
    events = stream.take(pb.TypeResponse(suggested=pb.Suggestions(edit_id=told.edit_id, acknowledged=told)))
    assert [type(event) for event in events] == [Acknowledged, Suggested]
    assert (stream.unanswered, session.revision) == (0, 2)


def test_an_edit_names_the_unanswered_one_that_it_builds_on_and_nothing_else() -> None:
    stream, server = StreamState(new_session()), NaiveServer()
    first, wish, second = (stream.request(edits, None) for edits in ([Insert("a")], [], [Insert("b")]))
    assert [one.after for one in (first, wish, second)] == ["", first.edit_id, first.edit_id]
    for request in (first, wish, second):
        stream.take(server.answer(request))
    assert stream.request([Insert("c")], None).after == ""


def test_what_is_sent_after_a_rejection_was_read_does_not_name_what_was_built_on_the_rejected_edit() -> None:
    stream, server = StreamState(new_session()), NaiveServer()
    refused, dependent = (stream.request([Insert(text)], None) for text in (REFUSED, "b"))
    assert dependent.after == refused.edit_id
    stream.take(server.answer(refused))
    anew = stream.request([Insert("c")], None)
    assert (anew.revision, anew.after) == (1, "")
