"""A server without sockets for the client's core: the real sessions over a fake engine, spoken to in messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from carousel_client import CarouselError, RetryPolicy, Unavailable, Units
from carousel_client.conversation import Conversation
from carousel_client.errors import error_of_status
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import Call
from carousel_client.opening import creating
from carousel_client.resuming import Resumption
from carousel_client.session_state import SessionState, Steps
from service.errors import CarouselError as Refusal
from service.sessions.ports import Store
from service.sessions.stores.memory import MemoryStore
from service.transport.grpc import messages
from service.transport.grpc.failures import status_of
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as server_pb
from tests.unit.sessions.rooms import TENANT, Room, now


class ServerRoom:
    """Answers calls and the messages of streams, and may be restarted with its store or without."""

    def __init__(self) -> None:
        self._store: Store = MemoryStore()
        self.room = Room(store=self._store)

    def restart(self, *, forgetting: bool = False) -> None:
        """As after kill -9: what it held is gone, what its store holds is not, unless it forgets that, too."""
        self._store = MemoryStore() if forgetting else self._store
        self.room = Room(store=self._store)

    def text(self, session_id: str) -> str:
        return self.room.text(session_id)  # type: ignore[arg-type]  # a SessionId is a str

    def answer(self, call: Call[Any]) -> Any:
        """What a unary call is answered. Raises the client's CarouselErrors."""
        sessions, wire = self.room.sessions, call.request.SerializeToString()
        serve: dict[str, Callable[[], Message]] = {
            "CreateSession": lambda: messages.create_response(
                now(sessions.create(TENANT, messages.create_command(server_pb.CreateSessionRequest.FromString(wire))))
            ),
            "GetSession": lambda: messages.get_response(
                now(sessions.get(TENANT, messages.get_command(server_pb.GetSessionRequest.FromString(wire))))
            ),
            "Edit": lambda: messages.edit_response(
                now(sessions.edit(TENANT, messages.edit_command(server_pb.EditRequest.FromString(wire))))
            ),
        }
        try:
            said = serve[call.method]().SerializeToString()
        except Refusal as error:
            raise error_of_status(status_of(error, "r")) from None
        kind: dict[str, Any] = {
            "CreateSession": pb.CreateSessionResponse,
            "GetSession": pb.GetSessionResponse,
            "Edit": pb.EditResponse,
        }
        return call.parse(kind[call.method].FromString(said))

    def run(self, steps: Steps[Any]) -> Any:
        """The outcome of steps whose calls all arrive."""
        try:
            call = next(steps)
            while True:
                try:
                    answer = self.answer(call)
                except CarouselError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            return done.value

    def answers(self, request: pb.TypeRequest) -> list[pb.TypeResponse]:
        """What a stream says to one message."""
        command = messages.edit_command(server_pb.TypeRequest.FromString(request.SerializeToString()))
        try:
            committed = now(self.room.sessions.commit(TENANT, command))
        except Refusal as error:
            rejected = server_pb.Rejection(edit_id=request.edit_id, error=status_of(error, "r"))
            return [pb.TypeResponse.FromString(server_pb.TypeResponse(rejected=rejected).SerializeToString())]
        told = [messages.acknowledgement(request.edit_id, committed.view)]
        if committed.wants_suggestions:
            committed.when_suggested(lambda suggested: told.append(messages.suggested(request.edit_id, suggested)))
        return [pb.TypeResponse.FromString(one.SerializeToString()) for one in told]


class Line:
    """A conversation with a ServerRoom over connections whose messages arrive when a test says so, if at all."""

    def __init__(
        self, server: ServerRoom, text: str, *, recreate: bool = False, units: Units = Units.CODEPOINT
    ) -> None:
        self.server = server
        self.session: SessionState = server.run(creating("s", text, None, units, recreate=recreate, store_text=True))
        patient = Resumption(RetryPolicy(), 1e9, lambda: 0.0)
        self.talk = Conversation(self.session, 64, patient)
        self.going: deque[pb.TypeRequest] = deque()
        self.coming: deque[pb.TypeResponse] = deque()
        self.connected = True

    def send(self, *edits: Any, suggest: Any = None) -> str:
        request = self.talk.send(edits, suggest)
        if self.connected:
            self.going.append(request)
        return request.edit_id

    def serve(self) -> None:
        """The server takes one message, also one that was on its way when the connection was cut."""
        if self.going:
            answers = self.server.answers(self.going.popleft())
            if self.connected:
                self.coming += answers

    def read(self) -> None:
        """The client takes one answer."""
        if self.coming:
            try:
                self.talk.take(self.coming.popleft())
            except CarouselError as error:
                self.lose(error)

    def cut(self, arriving: int = 0) -> None:
        """The connection breaks; of the messages under way so many still reach the server, whose answers do not."""
        for request in list(self.going)[:arriving]:
            self.server.answers(request)
        self.lose(Unavailable("cut"))

    def lose(self, error: CarouselError) -> None:
        self.going.clear()
        self.coming.clear()
        self.connected = False
        self.talk.lost(error)

    def reconnect(self) -> None:
        if not self.connected:
            try:
                again = self.server.run(self.talk.reconnecting())
            except CarouselError as error:
                self.talk.lost(error)
            else:
                self.connected = True
                self.going.extend(again)

    def settle(self) -> None:
        """Everything arrives, until nothing is under way."""
        for _ in range(1000):
            self.reconnect()
            while self.going or self.coming:
                self.serve()
                self.read()
            if self.connected and not self.talk.unanswered:
                return
        raise AssertionError("it goes on for ever")
