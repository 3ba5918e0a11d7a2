"""Requests as they go out and answers as they are read."""

from __future__ import annotations

import pytest

from carousel_client import (
    Accept,
    Acknowledged,
    Delete,
    Edit,
    FinishReason,
    Insert,
    Internal,
    InvalidArgument,
    MoveCursor,
    Replace,
    Stop,
    Suggested,
    Suggestion,
    SuggestOptions,
    UndoTo,
    Units,
)
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import create_call, edit_call, events_of, get_call, type_request
from service.sessions.commands import EditSession
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as server_pb
from service.transport.grpc.messages import decode, edit_command


def request_of(*edits: Edit, suggest: SuggestOptions | None = None, units: Units = Units.CODEPOINT) -> pb.EditRequest:
    request = edit_call("s", 7, "e-1", edits, units, suggest).request
    assert isinstance(request, pb.EditRequest)
    return request


def as_the_server_reads(request: pb.EditRequest) -> EditSession:
    return edit_command(decode(server_pb.EditRequest, request.SerializeToString()))


def test_every_edit_reaches_the_server_as_the_edit_that_it_is() -> None:
    ours: list[Edit] = [
        Insert("é"),
        Delete(2),
        Replace(1, 3, "x"),
        MoveCursor(4),
        UndoTo(5),
        Accept("a"),
        Accept("b", 0),
    ]
    command = as_the_server_reads(request_of(*ours, units=Units.UTF16))
    # The server's values are other classes with the same names and fields: neither distribution imports the other.
    assert [repr(edit) for edit in command.edits] == [repr(edit) for edit in ours]
    assert (command.revision, command.edit_id, command.units.value) == (7, "e-1", "utf16")


@pytest.mark.parametrize("stop", Stop)
def test_what_is_left_out_of_the_options_is_the_servers_default(stop: Stop) -> None:
    asked = as_the_server_reads(request_of(suggest=SuggestOptions(stop=stop))).suggest
    assert asked is not None
    assert (asked.count, asked.max_bytes, asked.stop.value) == (3, 48, stop.value)
    assert as_the_server_reads(request_of()).suggest is None


def test_stop_strings_are_read_as_they_were_said_and_one_that_is_no_text_is_not_sent() -> None:
    asked = as_the_server_reads(request_of(suggest=SuggestOptions(stop_strings=("\n\n", "é")))).suggest
    assert asked is not None
    assert asked.stop_strings == (b"\n\n", "é".encode())
    with pytest.raises(InvalidArgument) as refused:
        request_of(suggest=SuggestOptions(stop_strings=("a", "\ud800")))
    assert refused.value.field == "suggest.stop_strings[1]"


def test_a_message_of_a_stream_says_the_same_as_a_lone_request() -> None:
    suggest = SuggestOptions(2, 10, Stop.WORD)
    lone = request_of(Insert("a"), suggest=suggest)
    streamed = type_request("s", 7, "e-1", [Insert("a")], Units.CODEPOINT, suggest)
    assert streamed.SerializeToString() == lone.SerializeToString()


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (Insert("a\ud800"), "edits[0].insert"),
        (Replace(0, 1, "\udfff"), "edits[0].replace.text"),
        (Delete(-1), "edits[0].delete"),
        (Replace(-1, 0, ""), "edits[0].replace.start"),
        (MoveCursor(2**64), "edits[0].cursor"),
        (Accept("a", -2), "edits[0].accept.length"),
    ],
)
def test_what_protobuf_cannot_say_is_refused_before_it_is_sent_and_named(edit: Edit, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        request_of(edit)
    assert refused.value.field == field


def test_a_lone_surrogate_in_a_new_sessions_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"text: lone surrogate U\+D83D at 2"):
        create_call("s", "ab\ud83d", None, Units.CODEPOINT)


def test_an_answer_says_where_the_session_stands_and_why_there_are_no_suggestions() -> None:
    session = pb.Session(id="s", revision=3, length=5, cursor=2, model=pb.Model(name="m", digest="d", numerics_id="n"))
    found = pb.Suggestion(id="3-a", text="x", probability=0.5, finish_reason=pb.FINISH_REASON_END)
    call = edit_call("s", 2, "e", [], Units.CODEPOINT, None)
    with_some = call.parse(pb.EditResponse(session=session, suggestions=[found]))
    assert with_some.suggestions == (Suggestion("3-a", "x", 0.5, FinishReason.END),)
    assert (with_some.revision, with_some.length, with_some.cursor, with_some.model.name) == (3, 5, 2, "m")
    without = call.parse(pb.EditResponse(session=session, finish_reason=pb.FINISH_REASON_SHED))
    assert (without.suggestions, without.finish_reason) == ((), FinishReason.SHED)


def test_the_text_is_read_only_if_it_was_asked_for() -> None:
    call = get_call("s", Units.UTF8, include_text=True)
    assert call.request == pb.GetSessionRequest(session_id="s", include_text=True, units=pb.UNITS_UTF8)
    answer, text = call.parse(pb.GetSessionResponse(session=pb.Session(revision=4), text="日"))
    assert (answer.revision, text) == (4, "日")


def test_events_are_read_by_what_they_say() -> None:
    told = pb.Acknowledgement(edit_id="e", session=pb.Session(revision=2, length=3, cursor=1))
    assert events_of(pb.TypeResponse(acknowledged=told)) == (Acknowledged("e", 2, 3, 1),)
    found = pb.Suggestions(edit_id="e", revision=2, finish_reason=pb.FINISH_REASON_DEADLINE)
    assert events_of(pb.TypeResponse(suggested=found)) == (Suggested("e", 2, (), FinishReason.DEADLINE),)


def test_an_events_of_a_newer_protocol_is_an_error_and_not_silence() -> None:
    with pytest.raises(Internal, match="newer client"):
        events_of(pb.TypeResponse())
