"""Requests built and answers read, in one place for every shell. Pure: no I/O, no state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_never

from google.protobuf.message import Message

from carousel_client.answers import (
    Acknowledged,
    Alternatives,
    Answer,
    Event,
    FinishReason,
    Model,
    Piece,
    Rejected,
    Suggested,
    Suggestion,
)
from carousel_client.edits import (
    Accept,
    CompleteOptions,
    Delete,
    Edit,
    Insert,
    MoveCursor,
    Replace,
    Stop,
    SuggestOptions,
    UndoTo,
    Units,
)
from carousel_client.errors import Internal, InvalidArgument, error_of_status
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb

A = TypeVar("A")

_UNITS = {Units.CODEPOINT: pb.UNITS_CODEPOINT, Units.UTF16: pb.UNITS_UTF16, Units.UTF8: pb.UNITS_UTF8}
_STOPS = {
    Stop.WORD: pb.STOP_WORD,
    Stop.LINE: pb.STOP_LINE,
    Stop.BLOCK: pb.STOP_BLOCK,
    Stop.NONE: pb.STOP_NONE,
}
_FINISH_REASONS = {
    pb.FINISH_REASON_STOP: FinishReason.STOP,
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_END: FinishReason.END,
    pb.FINISH_REASON_DEADLINE: FinishReason.DEADLINE,
    pb.FINISH_REASON_SUPERSEDED: FinishReason.SUPERSEDED,
    pb.FINISH_REASON_SHED: FinishReason.SHED,
}
_MAX_UINT32 = 2**32 - 1
_MAX_UINT64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """One unary call: the method's name in the protocol, what to send, and how to read the answer.

    `session_id` is the session that it is about, if it is about one: what stands between may route by it.
    """

    method: str
    request: Message
    parse: Callable[[Any], A]
    session_id: str = ""


def create_call(
    session_id: str, text: str, model: str | None, units: Units, *, store_text: bool = True
) -> Call[Answer]:
    """Start a session. Raises InvalidArgument for what cannot be sent at all."""
    request = pb.CreateSessionRequest(
        text=text_field(text, "text"),
        id=text_field(session_id, "id"),
        model=text_field(model or "", "model"),
        units=_UNITS[units],
    )
    if not store_text:
        request.store_text = False
    return Call("CreateSession", request, _answer, session_id)


def edit_call(
    session_id: str, revision: int, edit_id: str, edits: Sequence[Edit], units: Units, suggest: SuggestOptions | None
) -> Call[Answer]:
    """Apply edits to the session at `revision`. Raises InvalidArgument for what cannot be sent at all."""
    request = pb.EditRequest(
        session_id=text_field(session_id, "session_id"),
        revision=revision,
        edit_id=text_field(edit_id, "edit_id"),
        edits=[_operation(edit, f"edits[{index}]") for index, edit in enumerate(edits)],
        units=_UNITS[units],
        suggest=_suggest(suggest),
    )
    return Call("Edit", request, _answer, session_id)


def type_request(
    session_id: str,
    revision: int,
    edit_id: str,
    edits: Sequence[Edit],
    units: Units,
    suggest: SuggestOptions | None,
    after: str = "",
) -> pb.TypeRequest:
    """The same on a stream. after: an unanswered edit. Raises InvalidArgument for what cannot be sent at all."""
    return pb.TypeRequest(
        session_id=text_field(session_id, "session_id"),
        revision=revision,
        edit_id=text_field(edit_id, "edit_id"),
        edits=[_operation(edit, f"edits[{index}]") for index, edit in enumerate(edits)],
        units=_UNITS[units],
        suggest=_suggest(suggest),
        after=after,
    )


def get_call(session_id: str, units: Units, *, include_text: bool) -> Call[tuple[Answer, str]]:
    """Read a session: where it stands, and its text, empty unless asked for."""
    request = pb.GetSessionRequest(
        session_id=text_field(session_id, "session_id"), include_text=include_text, units=_UNITS[units]
    )
    return Call("GetSession", request, lambda response: (_standing(response.session), response.text), session_id)


def delete_call(session_id: str) -> Call[None]:
    """Forget a session."""
    request = pb.DeleteSessionRequest(session_id=text_field(session_id, "session_id"))
    return Call("DeleteSession", request, lambda _: None, session_id)


def complete_request(
    options: CompleteOptions, *, prompt: str | None = None, session_id: str | None = None, model: str | None = None
) -> pb.CompleteRequest:
    """Go on from a prompt or from a session's cursor. Raises InvalidArgument for what cannot be sent at all."""
    request = pb.CompleteRequest(
        model=text_field(model or "", "model"),
        stop=[text_field(stop, f"stop[{index}]") for index, stop in enumerate(options.stop)],
        temperature=options.temperature,
        top_p=options.top_p,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
    )
    if prompt is not None:
        request.prompt = text_field(prompt, "prompt")
    if session_id is not None:
        request.session_id = text_field(session_id, "session_id")
    for field, most in (
        ("max_bytes", _MAX_UINT32),
        ("count", _MAX_UINT32),
        ("top_k", _MAX_UINT32),
        ("top", _MAX_UINT32),
        ("seed", _MAX_UINT64),
    ):
        value = getattr(options, field)
        if value is not None:
            setattr(request, field, number(value, field, most))
    for byte, added in options.logit_bias.items():
        request.logit_bias[number(byte, f"logit_bias.{byte}", _MAX_UINT32)] = added
    return request


def piece_of(response: pb.CompleteResponse) -> Piece:
    """The next characters of a completion."""
    return Piece(
        response.index,
        response.text,
        _FINISH_REASONS.get(response.finish_reason),
        tuple(response.log_probabilities),
        alternatives_of(response.alternatives),
    )


def alternatives_of(told: Iterable[pb.Alternatives]) -> tuple[Alternatives, ...]:
    """The likeliest bytes at every place."""
    return tuple(Alternatives(tuple(one.tokens), tuple(one.log_probabilities)) for one in told)


def model_of(model: pb.Model) -> Model:
    """What an answer depends on beside the text."""
    return Model(model.name, model.digest, model.numerics_id)


def answer_of_session(response: pb.ForkSessionResponse | pb.ImportSessionResponse) -> Answer:
    """A session that was made of another one."""
    return _standing(response.session)


def units_field(units: Units) -> pb.Units.ValueType:
    """Units as the protocol says them."""
    return _UNITS[units]


def events_of(response: pb.TypeResponse) -> tuple[Event, ...]:
    """What a stream's answer says, in order. Raises Internal for an event that this client does not know."""
    match response.WhichOneof("event"):
        case "acknowledged":
            return (_acknowledged(response.acknowledged),)
        case "suggested":
            found = response.suggested
            suggestions = tuple(_suggestion(one) for one in found.suggestions)
            suggested = Suggested(found.edit_id, found.revision, suggestions, _FINISH_REASONS.get(found.finish_reason))
            if found.HasField("acknowledged"):
                return _acknowledged(found.acknowledged), suggested
            return (suggested,)
        case "rejected":
            return (Rejected(response.rejected.edit_id, error_of_status(response.rejected.error)),)
        case _:
            raise Internal("the stream holds an event that this client does not know; a newer client may")


def _acknowledged(told: pb.Acknowledgement) -> Acknowledged:
    return Acknowledged(told.edit_id, told.session.revision, told.session.length, told.session.cursor)


def _operation(edit: Edit, path: str) -> pb.EditOperation:
    match edit:
        case Insert(text):
            return pb.EditOperation(insert=text_field(text, f"{path}.insert"))
        case Delete(count):
            return pb.EditOperation(delete=number(count, f"{path}.delete"))
        case Replace(start, end, text):
            replace = pb.Replace(
                start=number(start, f"{path}.replace.start"),
                end=number(end, f"{path}.replace.end"),
                text=text_field(text, f"{path}.replace.text"),
            )
            return pb.EditOperation(replace=replace)
        case MoveCursor(position):
            return pb.EditOperation(cursor=number(position, f"{path}.cursor"))
        case UndoTo(revision):
            return pb.EditOperation(undo_to=number(revision, f"{path}.undo_to"))
        case Accept(suggestion, length):
            accept = pb.Accept(suggestion=text_field(suggestion, f"{path}.accept.suggestion"))
            if length is not None:
                accept.length = number(length, f"{path}.accept.length")
            return pb.EditOperation(accept=accept)
        case _:
            assert_never(edit)


def _suggest(options: SuggestOptions | None) -> pb.SuggestOptions | None:
    if options is None:
        return None
    message = pb.SuggestOptions(
        stop=_STOPS[options.stop],
        stop_strings=[
            text_field(string, f"suggest.stop_strings[{n}]") for n, string in enumerate(options.stop_strings)
        ],
    )
    if options.count is not None:
        message.count = number(options.count, "suggest.count", _MAX_UINT32)
    if options.max_bytes is not None:
        message.max_bytes = number(options.max_bytes, "suggest.max_bytes", _MAX_UINT32)
    return message


def number(value: int, field: str, most: int = _MAX_UINT64) -> int:
    """The value, if the protocol can say it. Raises InvalidArgument that names the field."""
    if not 0 <= value <= most:
        raise InvalidArgument(f"{field}: {value} is outside of 0..{most}", field=field)
    return value


def text_field(value: str, field: str) -> str:
    """The text, if it is one. Raises InvalidArgument that names the field for what no UTF-8 can say."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(value[error.start]):04X}"
        raise InvalidArgument(f"{field}: lone surrogate {surrogate} at {error.start}", field=field) from None
    return value


def _answer(response: pb.CreateSessionResponse | pb.EditResponse) -> Answer:
    return _standing(
        response.session,
        tuple(_suggestion(one) for one in response.suggestions),
        _FINISH_REASONS.get(response.finish_reason),
    )


def _standing(
    session: pb.Session, suggestions: tuple[Suggestion, ...] = (), finish_reason: FinishReason | None = None
) -> Answer:
    model = model_of(session.model)
    stored = session.stored if session.HasField("stored") else None
    return Answer(
        session.id, session.revision, session.length, session.cursor, model, suggestions, finish_reason, stored
    )


def _suggestion(one: pb.Suggestion) -> Suggestion:
    return Suggestion(one.id, one.text, one.probability, _FINISH_REASONS.get(one.finish_reason))
