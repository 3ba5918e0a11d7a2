"""Pure converters for what is asked of whole texts and sessions: scores, forks, documents and lists."""

from __future__ import annotations

from service.errors import InvalidArgument
from service.sessions.commands import (
    ExportSession,
    ForkSession,
    ImportSession,
    ListSessions,
    Prompt,
    ScoredText,
    ScoreText,
    SessionId,
    SessionView,
    Units,
)
from service.sessions.records import SessionPage
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.messages import alternatives, model, session, units

_SURPRISES = 10
"""How many are told where a request does not say."""


def score_command(request: pb.ScoreRequest) -> ScoreText:
    """Raises InvalidArgument for a request without a source, and for a session with a model."""
    counted = units(request.units)
    if request.WhichOneof("source") == "text_bytes" and request.units == pb.UNITS_UNSPECIFIED:
        counted = Units.UTF8
    return ScoreText(
        source=_source(request),
        start=request.start,
        top=request.top,
        surprises=request.surprises if request.HasField("surprises") else _SURPRISES,
        units=counted,
    )


def _source(request: pb.ScoreRequest) -> SessionId | Prompt:
    match request.WhichOneof("source"):
        case "text":
            return Prompt(request.text, request.model or None)
        case "text_bytes":
            return Prompt(request.text_bytes, request.model or None)
        case "session_id":
            if request.model:
                raise InvalidArgument("model", "a session has its model; leave it out")
            return SessionId(request.session_id)
        case None:
            raise InvalidArgument("source", "needs one of session_id, text, text_bytes")


def score_response(scored: ScoredText) -> pb.ScoreResponse:
    """Every byte, and what surprised."""
    return pb.ScoreResponse(
        model=model(scored.model),
        revision=scored.revision,
        start=scored.start,
        log_probabilities=scored.log_probabilities.tolist(),
        surprisal_bits=scored.surprisal_bits.tolist(),
        alternatives=alternatives(scored.top_tokens, scored.top_log_probabilities),
        bits_per_byte=scored.bits_per_byte,
        surprises=[
            pb.Surprise(
                offset=one.offset,
                length=one.length,
                text=one.text,
                surprisal_bits=one.surprisal_bits,
                expected=one.expected,
                probability=one.probability,
            )
            for one in scored.surprises
        ],
    )


def fork_command(request: pb.ForkSessionRequest) -> ForkSession:
    """Raises InvalidArgument for an enum value that is not known."""
    return ForkSession(
        session=SessionId(request.session_id),
        id=SessionId(request.id) if request.id else None,
        revision=request.revision if request.HasField("revision") else None,
        units=units(request.units),
    )


def fork_response(view: SessionView) -> pb.ForkSessionResponse:
    """The fork."""
    return pb.ForkSessionResponse(session=session(view))


def export_command(request: pb.ExportSessionRequest) -> ExportSession:
    """Every ExportSessionRequest is a command."""
    return ExportSession(SessionId(request.session_id))


def import_command(request: pb.ImportSessionRequest) -> ImportSession:
    """Raises InvalidArgument for an enum value that is not known."""
    return ImportSession(
        document=request.document,
        id=SessionId(request.id) if request.id else None,
        model=request.model or None,
        units=units(request.units),
    )


def import_response(view: SessionView) -> pb.ImportSessionResponse:
    """The session of the document, as it is now."""
    return pb.ImportSessionResponse(session=session(view))


def list_command(request: pb.ListSessionsRequest) -> ListSessions:
    """Every ListSessionsRequest is a command."""
    return ListSessions(
        after=SessionId(request.after) if request.after else None,
        limit=request.limit if request.HasField("limit") else ListSessions().limit,
    )


def list_response(page: SessionPage) -> pb.ListSessionsResponse:
    """A part of the list."""
    return pb.ListSessionsResponse(
        sessions=[
            pb.SessionSummary(
                id=one.id, revision=one.revision, model=one.model, text_bytes=one.text_bytes, written_s=one.written_s
            )
            for one in page.sessions
        ],
        after=page.after or "",
    )
