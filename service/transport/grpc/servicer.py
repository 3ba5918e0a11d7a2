"""The methods of carousel.v1.Autocomplete: parse, call, encode."""

from __future__ import annotations

from collections.abc import Mapping

from service.sessions.service import Sessions
from service.transport.grpc import messages, text_messages
from service.transport.grpc.calls import Call, Context, Unary
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb


class AutocompleteMethods:
    """The methods that take one request. Errors pass through: CallGuard turns them into statuses."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def by_name(self) -> Mapping[str, Unary]:
        """Every unary method by its name in the protocol."""
        return {
            "CreateSession": self.create_session,
            "GetSession": self.get_session,
            "DeleteSession": self.delete_session,
            "Edit": self.edit,
            "Score": self.score,
            "ForkSession": self.fork_session,
            "ExportSession": self.export_session,
            "ImportSession": self.import_session,
            "ListSessions": self.list_sessions,
        }

    async def create_session(self, request: pb.CreateSessionRequest, call: Call) -> pb.CreateSessionResponse:
        """Start a session."""
        command = messages.create_command(request)
        return messages.create_response(await self._sessions.create(call.tenant, command, deadline_s=call.deadline_s))

    async def get_session(self, request: pb.GetSessionRequest, call: Call) -> pb.GetSessionResponse:
        """Read a session."""
        return messages.get_response(await self._sessions.get(call.tenant, messages.get_command(request)))

    async def delete_session(self, request: pb.DeleteSessionRequest, call: Call) -> pb.DeleteSessionResponse:
        """Forget a session."""
        await self._sessions.delete(call.tenant, messages.delete_command(request))
        return pb.DeleteSessionResponse()

    async def edit(self, request: pb.EditRequest, call: Call) -> pb.EditResponse:
        """Apply edits and suggest."""
        command = messages.edit_command(request)
        return messages.edit_response(await self._sessions.edit(call.tenant, command, deadline_s=call.deadline_s))

    async def score(self, request: pb.ScoreRequest, call: Call) -> pb.ScoreResponse:
        """Say how likely a text is; a caller who goes away stops the work."""
        command = text_messages.score_command(request)
        return text_messages.score_response(
            await self._sessions.score(call.tenant, command, deadline_s=call.deadline_s)
        )

    async def fork_session(self, request: pb.ForkSessionRequest, call: Call) -> pb.ForkSessionResponse:
        """Start a session from another one."""
        command = text_messages.fork_command(request)
        return text_messages.fork_response(await self._sessions.fork(call.tenant, command))

    async def export_session(self, request: pb.ExportSessionRequest, call: Call) -> pb.ExportSessionResponse:
        """Read a session as a document."""
        command = text_messages.export_command(request)
        return pb.ExportSessionResponse(document=await self._sessions.export(call.tenant, command))

    async def import_session(self, request: pb.ImportSessionRequest, call: Call) -> pb.ImportSessionResponse:
        """Start a session from a document."""
        command = text_messages.import_command(request)
        return text_messages.import_response(await self._sessions.import_(call.tenant, command))

    async def list_sessions(self, request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        """List the caller's sessions."""
        command = text_messages.list_command(request)
        return text_messages.list_response(await self._sessions.page(call.tenant, command))

    async def complete(self, request: pb.CompleteRequest, call: Call, context: Context) -> None:
        """Go on from a prompt or a session's cursor; a caller who goes away stops the work."""
        command = messages.complete_command(request)
        completion = await self._sessions.complete(call.tenant, command, deadline_s=call.deadline_s)
        async with completion:
            about: pb.Completion | None = messages.completion(completion)
            async for piece in completion:
                await context.write(messages.complete_response(piece, about))
                about = None
