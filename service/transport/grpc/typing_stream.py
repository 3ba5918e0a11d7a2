"""`Type` over gRPC: a conversation (service/transport/typing.py) in protobuf messages."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from service.errors import CarouselError, InvalidArgument, StreamOver
from service.sessions.commands import EditSession, SessionView, Suggested
from service.sessions.service import Sessions
from service.transport.grpc import messages
from service.transport.grpc.calls import Call, Context
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.lifecycle import Lifecycle
from service.transport.observer import RequestObserver
from service.transport.typing import Conversation, Ending

Request = pb.TypeRequest | InvalidArgument


class Typing:
    """The behaviour of `Type`; one for the process, one conversation per call."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lifecycle: Lifecycle,
        observer: RequestObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions, self._lifecycle, self._observer, self._clock = sessions, lifecycle, observer, clock

    async def serve(self, requests: AsyncIterator[Request], call: Call, context: Context) -> None:
        """Answer one stream until its caller half-closes it, or it is over: then raises StreamOver."""
        conversation = Conversation(
            self._sessions,
            call.tenant,
            requests,
            _Wire(call, context),
            facade="grpc",
            lifecycle=self._lifecycle,
            observer=self._observer,
            clock=self._clock,
        )
        ending = await conversation.run()
        revision = None if conversation.newest is None else conversation.newest.revision
        if ending is Ending.SERVER_DRAINS:
            raise StreamOver("the server is shutting down", 1.0, revision)
        if ending is Ending.STREAM_IS_OLD:
            raise StreamOver("this stream has come to its age", 0.0, revision)


class _Wire:
    """Protobuf in, protobuf out. A caller who goes away is a cancelled task here, never CallerLeft."""

    def __init__(self, call: Call, context: Context) -> None:
        self._request_id = call.request_id
        self.write = context.write  # as it is, because every keystroke passes here
        self._session = ""
        self._bound = False

    def command(self, request: Request) -> EditSession:
        """The session may be left out after the first message; a stream stays with the first session it edited."""
        if isinstance(request, InvalidArgument):
            raise request
        if not request.session_id:
            if not self._session:
                raise InvalidArgument("session_id", "the first message of a stream names the session")
            request.session_id = self._session
        elif self._bound and request.session_id != self._session:
            raise InvalidArgument("session_id", "this stream edits another session; open a stream for each")
        self._session = request.session_id
        return messages.edit_command(request)

    def edit_id(self, request: Request) -> str:
        """Empty for what was no request."""
        return "" if isinstance(request, InvalidArgument) else request.edit_id

    def after(self, request: Request) -> str:
        """As the caller wrote it."""
        return "" if isinstance(request, InvalidArgument) else request.after

    def acknowledged(self, edit_id: str, view: SessionView) -> pb.TypeResponse:
        """The session that was edited is the stream's from here on."""
        self._bound = True
        return messages.acknowledgement(edit_id, view)

    def suggested(self, edit_id: str, suggested: Suggested, acknowledged: pb.TypeResponse | None) -> pb.TypeResponse:
        """Suggestions, perhaps in one with the acknowledgement."""
        return messages.suggested(edit_id, suggested, acknowledged)

    def rejected(self, edit_id: str, error: CarouselError) -> pb.TypeResponse:
        """A google.rpc.Status, as that of a call that failed."""
        # Imported for the first rejection, or once the server is up: the first keystroke does not wait for it.
        from service.transport.grpc.failures import status_of

        return pb.TypeResponse(rejected=pb.Rejection(edit_id=edit_id, error=status_of(error, self._request_id)))
