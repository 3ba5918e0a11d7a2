"""Pure converters between the protocol's messages and the domain's values; no logic, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from service.engine.requests import FinishReason, ModelIdentity, SamplingSpec, Stop, SuggestSpec
from service.errors import InvalidArgument
from service.sessions.commands import (
    Accept,
    CompletedPiece,
    CompleteText,
    CreateSession,
    Delete,
    DeleteSession,
    Edit,
    EditSession,
    GetSession,
    Insert,
    MoveCursor,
    Prompt,
    Replace,
    SessionId,
    SessionView,
    Suggested,
    Suggestion,
    UndoTo,
    Units,
)
from service.sessions.completions import Completion
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb

_UNITS = {
    pb.UNITS_UNSPECIFIED: Units.CODEPOINT,
    pb.UNITS_CODEPOINT: Units.CODEPOINT,
    pb.UNITS_UTF16: Units.UTF16,
    pb.UNITS_UTF8: Units.UTF8,
}
_STOPS = {
    pb.STOP_UNSPECIFIED: SuggestSpec().stop,
    pb.STOP_WORD: Stop.WORD,
    pb.STOP_LINE: Stop.LINE,
    pb.STOP_NONE: Stop.NONE,
    pb.STOP_BLOCK: Stop.BLOCK,
}
_FINISH_REASONS = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.END: pb.FINISH_REASON_END,
    FinishReason.DEADLINE: pb.FINISH_REASON_DEADLINE,
    FinishReason.SUPERSEDED: pb.FINISH_REASON_SUPERSEDED,
    FinishReason.SHED: pb.FINISH_REASON_SHED,
}

_M = TypeVar("_M", bound=Message)


def decode(kind: type[_M], data: bytes) -> _M:
    """Parse a request. Raises InvalidArgument if it is no such message, or if it holds fields that are not known.

    A field that this server does not know is refused: ignoring it would answer another question than was asked.
    """
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgument("message", f"not a valid {kind.__name__}; strings must be UTF-8") from error
    size = message.ByteSize()
    message.DiscardUnknownFields()  # by size, because this finds them at any depth
    if message.ByteSize() != size:
        unknown = UnknownFieldSet(kind.FromString(data))
        number = unknown[0].field_number if len(unknown) else None
        where = f"unknown field {number}" if number is not None else "an unknown field inside one of its fields"
        raise InvalidArgument("message", f"{kind.__name__} has {where}; the server's protocol is older than yours")
    return message


def create_command(request: pb.CreateSessionRequest) -> CreateSession:
    """Raises InvalidArgument for an enum value that is not known."""
    return CreateSession(
        text=request.text,
        id=SessionId(request.id) if request.id else None,
        model=request.model or None,
        suggest=_suggest(request),
        units=units(request.units),
        store_text=request.store_text if request.HasField("store_text") else True,
    )


def get_command(request: pb.GetSessionRequest) -> GetSession:
    """Raises InvalidArgument for an enum value that is not known."""
    return GetSession(SessionId(request.session_id), request.include_text, units(request.units))


def delete_command(request: pb.DeleteSessionRequest) -> DeleteSession:
    """Every DeleteSessionRequest is a command."""
    return DeleteSession(SessionId(request.session_id))


def edit_command(request: pb.EditRequest | pb.TypeRequest) -> EditSession:
    """Raises InvalidArgument for an empty operation or an enum value that is not known."""
    return EditSession(
        session=SessionId(request.session_id),
        revision=request.revision,
        edits=tuple(_edit(operation, index) for index, operation in enumerate(request.edits)),
        edit_id=request.edit_id or None,
        units=units(request.units),
        suggest=_suggest(request),
    )


def complete_command(request: pb.CompleteRequest) -> CompleteText:
    """Raises InvalidArgument for a request without a source, and for a session with a model."""
    default, greedy = CompleteText(Prompt("")), SamplingSpec()
    return CompleteText(
        source=_source(request),
        max_bytes=request.max_bytes if request.HasField("max_bytes") else default.max_bytes,
        count=request.count if request.HasField("count") else default.count,
        stop=tuple(request.stop),
        sampling=SamplingSpec(
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p if request.HasField("top_p") else greedy.top_p,
            min_p=request.min_p,
            repetition_penalty=(
                request.repetition_penalty if request.HasField("repetition_penalty") else greedy.repetition_penalty
            ),
            logit_bias=tuple(sorted(request.logit_bias.items())),
        ),
        seed=request.seed if request.HasField("seed") else None,
        top=request.top if request.HasField("top") else None,
    )


def _source(request: pb.CompleteRequest) -> SessionId | Prompt:
    match request.WhichOneof("source"):
        case "prompt":
            return Prompt(request.prompt, request.model or None)
        case "session_id":
            if request.model:
                raise InvalidArgument("model", "a session has its model; leave it out")
            return SessionId(request.session_id)
        case None:
            raise InvalidArgument("source", "needs one of session_id, prompt")


def _edit(operation: pb.EditOperation, index: int) -> Edit:
    match operation.WhichOneof("operation"):
        case "insert":
            return Insert(operation.insert)
        case "delete":
            return Delete(operation.delete)
        case "replace":
            return Replace(operation.replace.start, operation.replace.end, operation.replace.text)
        case "cursor":
            return MoveCursor(operation.cursor)
        case "undo_to":
            return UndoTo(operation.undo_to)
        case "accept":
            accept = operation.accept
            return Accept(accept.suggestion, accept.length if accept.HasField("length") else None)
        case None:
            raise InvalidArgument(f"edits[{index}]", "needs one of insert, delete, replace, cursor, undo_to, accept")


def _suggest(request: pb.CreateSessionRequest | pb.EditRequest | pb.TypeRequest) -> SuggestSpec | None:
    if not request.HasField("suggest"):
        return None
    options, default = request.suggest, SuggestSpec()
    stop = _STOPS.get(options.stop)
    if stop is None:
        raise InvalidArgument("suggest.stop", f"{options.stop} is none of word, line, block, none")
    return SuggestSpec(
        count=options.count if options.HasField("count") else default.count,
        max_bytes=options.max_bytes if options.HasField("max_bytes") else default.max_bytes,
        stop=stop,
        stop_strings=tuple(string.encode() for string in options.stop_strings),
    )


def units(value: pb.Units.ValueType) -> Units:
    """What offsets count. Raises InvalidArgument for a value that is not known."""
    known = _UNITS.get(value)
    if known is None:
        raise InvalidArgument("units", f"{value} is none of codepoint, utf16, utf8")
    return known


def create_response(view: SessionView) -> pb.CreateSessionResponse:
    """The session, and suggestions if they were asked for."""
    return pb.CreateSessionResponse(
        session=session(view),
        suggestions=_suggestions(view.suggestions),
        finish_reason=_finish_reason(view.finish_reason),
    )


def get_response(view: SessionView) -> pb.GetSessionResponse:
    """The session, and its text if it was asked for."""
    return pb.GetSessionResponse(session=session(view), text=view.text)


def edit_response(view: SessionView) -> pb.EditResponse:
    """The session after the edits, and suggestions if they were asked for."""
    return pb.EditResponse(
        session=session(view),
        suggestions=_suggestions(view.suggestions),
        finish_reason=_finish_reason(view.finish_reason),
    )


def acknowledgement(edit_id: str, view: SessionView) -> pb.TypeResponse:
    """An edit of a stream is committed."""
    return pb.TypeResponse(acknowledged=pb.Acknowledgement(edit_id=edit_id, session=session(view)))


def suggested(edit_id: str, found: Suggested, acknowledged: pb.TypeResponse | None = None) -> pb.TypeResponse:
    """The suggestions for an edit of a stream, and in them its acknowledgement if that was not told before."""
    return pb.TypeResponse(
        suggested=pb.Suggestions(
            edit_id=edit_id,
            revision=found.revision,
            suggestions=_suggestions(found.suggestions),
            finish_reason=_finish_reason(found.finish_reason),
            acknowledged=None if acknowledged is None else acknowledged.acknowledged,
        )
    )


def completion(under_way: Completion) -> pb.Completion:
    """What the same text takes once more."""
    return pb.Completion(model=model(under_way.model), seed=under_way.seed, revision=under_way.revision)


def complete_response(piece: CompletedPiece, about: pb.Completion | None) -> pb.CompleteResponse:
    """A piece; the first message of a call is also `about` the completion."""
    return pb.CompleteResponse(
        index=piece.index,
        text=piece.text,
        finish_reason=_finish_reason(piece.finish_reason),
        completion=about,
        log_probabilities=None if piece.log_probabilities is None else piece.log_probabilities.tolist(),
        alternatives=alternatives(piece.top_tokens, piece.top_log_probabilities),
    )


def alternatives(
    top_tokens: NDArray[np.int64] | None, top_log_probabilities: NDArray[np.float32] | None
) -> Sequence[pb.Alternatives]:
    """One message for each byte; none if no alternatives were asked for."""
    if top_tokens is None or top_log_probabilities is None or not top_tokens.shape[1]:
        return ()
    return [
        pb.Alternatives(tokens=tokens, log_probabilities=log_probabilities)
        for tokens, log_probabilities in zip(top_tokens.tolist(), top_log_probabilities.tolist(), strict=True)
    ]


def session(view: SessionView) -> pb.Session:
    """The session without its text."""
    return pb.Session(
        id=view.id,
        revision=view.revision,
        length=view.length,
        cursor=view.cursor,
        model=model(view.model),
        stored=view.stored,
    )


@lru_cache(maxsize=64)  # a few models; it stands in every acknowledgement
def model(identity: ModelIdentity) -> pb.Model:
    """What an answer depends on beside its text."""
    return pb.Model(name=identity.name, digest=identity.digest, numerics_id=identity.numerics_id)


def _suggestions(suggestions: tuple[Suggestion, ...] | None) -> list[pb.Suggestion]:
    return [
        pb.Suggestion(
            id=suggestion.id,
            text=suggestion.text,
            probability=suggestion.probability,
            finish_reason=_FINISH_REASONS[suggestion.finish_reason],
        )
        for suggestion in suggestions or ()
    ]


def _finish_reason(reason: FinishReason | None) -> pb.FinishReason.ValueType:
    return pb.FINISH_REASON_UNSPECIFIED if reason is None else _FINISH_REASONS[reason]
