"""The same calls over every facade of sessions, so that one table of scenarios covers them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import grpc
import httpx
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # it ships no types
from websockets.asyncio.client import connect

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.servers import Running
from tests.integration.sockets import address, events_in

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

Edits = list[dict[str, Any]]


@dataclass(frozen=True)
class Suggestion:
    id: str
    text: str
    probability: float
    finish_reason: str


@dataclass(frozen=True)
class Shown:
    """A session as either facade shows it."""

    id: str
    revision: int
    length: int
    cursor: int
    model: tuple[str, str, str]
    text: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    finish_reason: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Completed:
    """Completions as either facade shows them."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    seed: int
    revision: int | None
    model: tuple[str, str, str]
    pieces: int = 1


class Refused(Exception):
    """An error as either facade shows it."""

    def __init__(
        self, code: str, field: str | None, revision: int | None, request_id: str, status: object, message: str
    ) -> None:
        super().__init__(f"{code} {field} {message}")
        self.code, self.field, self.revision, self.request_id = code, field, revision, request_id
        self.status, self.message = status, message


class RestCaller:
    """Calls the REST facade."""

    name = "rest"

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def create(self, headers: dict[str, str] | None = None, **body: Any) -> Shown:
        return _shown(await self.client.post("/v1/sessions", json=body, headers=headers), 201)

    async def edit(self, session: str, revision: int, edits: Edits, **more: Any) -> Shown:
        body = {"revision": revision, "edits": edits, **more}
        return _shown(await self.client.post(f"/v1/sessions/{session}/edits", json=body))

    async def get(self, session: str, units: str = "codepoint", headers: dict[str, str] | None = None) -> Shown:
        query = {"include": "text", "units": units}
        return _shown(await self.client.get(f"/v1/sessions/{session}", params=query, headers=headers))

    async def delete(self, session: str) -> None:
        answer = await self.client.delete(f"/v1/sessions/{session}")
        if answer.status_code != 204:
            raise refused(answer)

    async def complete(self, session: str, **body: Any) -> Completed:
        answer = await self.client.post(f"/v1/sessions/{session}/complete", json=body)
        if answer.status_code != 200:
            raise refused(answer)
        shown = answer.json()
        completions = shown["completions"]
        assert [one["index"] for one in completions] == list(range(len(completions)))
        model = shown["model"]
        return Completed(
            tuple(one["text"] for one in completions),
            tuple(one["finish_reason"] for one in completions),
            shown["seed"],
            shown["revision"],
            (model["name"], model["digest"], model["numerics_id"]),
        )


class GrpcCaller:
    """Calls the gRPC facade."""

    name = "grpc"

    def __init__(self, stub: AutocompleteAsyncStub) -> None:
        self.stub = stub

    async def create(self, headers: dict[str, str] | None = None, **body: Any) -> Shown:
        request = ParseDict(_spelled(body), pb.CreateSessionRequest())
        answer, request_id = await _call(self.stub.CreateSession(request, metadata=_metadata(headers)))
        return _from_proto(answer.session, request_id, answer.suggestions, answer.finish_reason)

    async def edit(self, session: str, revision: int, edits: Edits, **more: Any) -> Shown:
        body = {"session_id": session, "revision": revision, "edits": edits, **more}
        answer, request_id = await _call(self.stub.Edit(ParseDict(_spelled(body), pb.EditRequest())))
        return _from_proto(answer.session, request_id, answer.suggestions, answer.finish_reason)

    async def get(self, session: str, units: str = "codepoint", headers: dict[str, str] | None = None) -> Shown:
        body = {"session_id": session, "include_text": True, "units": units}
        request = ParseDict(_spelled(body), pb.GetSessionRequest())
        answer, request_id = await _call(self.stub.GetSession(request, metadata=_metadata(headers)))
        return _from_proto(answer.session, request_id, text=answer.text)

    async def delete(self, session: str) -> None:
        await _call(self.stub.DeleteSession(pb.DeleteSessionRequest(session_id=session)))

    async def complete(self, session: str, **body: Any) -> Completed:
        return await self.complete_request({"session_id": session, **body})

    async def complete_request(self, body: dict[str, Any]) -> Completed:
        call = self.stub.Complete(ParseDict(body, pb.CompleteRequest()))
        texts: dict[int, str] = {}
        reasons: dict[int, str] = {}
        about: list[pb.Completion] = []
        pieces = 0
        try:
            async for response in call:
                pieces += 1
                if response.HasField("completion"):
                    about.append(response.completion)
                texts[response.index] = texts.get(response.index, "") + response.text
                if (reason := _finish(response.finish_reason)) is not None:
                    reasons[response.index] = reason
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        (told,) = about
        return Completed(
            tuple(texts[index] for index in sorted(texts)),
            tuple(reasons[index] for index in sorted(texts)),
            told.seed,
            told.revision if told.HasField("revision") else None,
            (told.model.name, told.model.digest, told.model.numerics_id),
            pieces,
        )


class TypeCaller(GrpcCaller):
    """Edits over gRPC's `Type`, a stream for each; everything else as gRPC."""

    name = "type"

    async def edit(self, session: str, revision: int, edits: Edits, **more: Any) -> Shown:
        body = {"session_id": session, "revision": revision, "edits": edits, **more}
        call = cast(Any, self.stub.Type)()
        await call.write(ParseDict(_spelled(body), pb.TypeRequest()))
        await call.done_writing()
        request_id = str(dict(await call.initial_metadata())["x-request-id"])
        acknowledged, suggested = pb.Session(), pb.Suggestions()
        while (message := await call.read()) is not cast(Any, grpc.aio).EOF:
            if message.HasField("rejected"):
                status = message.rejected.error
                code = next(it for it in grpc.StatusCode if it.value[0] == status.code)
                raise refused_status(status, code)
            if message.HasField("acknowledged"):
                acknowledged = message.acknowledged.session
            else:
                suggested = message.suggested
                if suggested.HasField("acknowledged"):
                    acknowledged = suggested.acknowledged.session
        return _from_proto(acknowledged, request_id, suggested.suggestions, suggested.finish_reason)


class WebSocketCaller(RestCaller):
    """Edits over a WebSocket, one for each; everything else as REST."""

    name = "websocket"

    def __init__(self, client: httpx.AsyncClient, server: Running) -> None:
        super().__init__(client)
        self.server = server

    async def edit(self, session: str, revision: int, edits: Edits, **more: Any) -> Shown:
        body: dict[str, Any] = {"revision": revision, "edits": edits, **more}
        shown: dict[str, Any] = {}
        async with connect(address(self.server, session)) as socket:
            assert socket.response is not None
            request_id = socket.response.headers["x-request-id"]
            while not shown or ("suggest" in body and "suggestions" not in shown):
                for kind, event in events_in(json.loads(await socket.recv())):
                    if kind == "opened":
                        await socket.send(json.dumps(body))
                    elif kind == "rejected":
                        raise _refused_by(event["error"])
                    elif kind == "acknowledged":
                        shown |= event["session"]
                    else:
                        shown |= {"suggestions": event["suggestions"], "finish_reason": event.get("finish_reason")}
        return _shown_in(shown, request_id)


Caller = RestCaller | GrpcCaller


@asynccontextmanager
async def calling(facade: Literal["rest", "grpc", "type", "websocket"], server: Running) -> AsyncIterator[Caller]:
    if facade in ("rest", "websocket"):
        async with httpx.AsyncClient(base_url=server.http) as client:
            yield RestCaller(client) if facade == "rest" else WebSocketCaller(client, server)
    else:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            stub: AutocompleteAsyncStub = AutocompleteStub(channel)
            yield GrpcCaller(stub) if facade == "grpc" else TypeCaller(stub)


def refused(answer: httpx.Response) -> Refused:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    return _refused_by(problem)


def _refused_by(problem: dict[str, Any]) -> Refused:
    return Refused(
        problem["code"],
        problem.get("field"),
        problem.get("revision"),
        problem["request_id"],
        problem["status"],
        problem["detail"],
    )


def refused_call(error: grpc.aio.AioRpcError) -> Refused:
    status = status_of(error)
    assert status.code == error.code().value[0]
    return refused_status(status, error.code(), str(_trailers(error)["x-request-id"]))


def status_of(error: grpc.aio.AioRpcError) -> Any:
    """The google.rpc.Status that came with an error."""
    return status_pb2.Status.FromString(_trailers(error)["grpc-status-details-bin"])


def _trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(cast("list[tuple[str, Any]]", error.trailing_metadata()))


def refused_status(status: Any, code: grpc.StatusCode | None = None, request_id: str = "") -> Refused:
    info = detail(status, error_details_pb2.ErrorInfo())
    bad = detail(status, error_details_pb2.BadRequest())
    assert info.domain == "carousel"
    revision = info.metadata.get("revision")
    return Refused(
        info.reason,
        bad.field_violations[0].field if bad else None,
        int(revision) if revision else None,
        request_id or detail(status, error_details_pb2.RequestInfo()).request_id,
        code,
        status.message,
    )


def detail(status: Any, kind: Message) -> Any:
    """The detail of this kind, or None."""
    return kind if any(packed.Unpack(kind) for packed in status.details) else None


async def _call(call: Any) -> tuple[Any, str]:
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        raise refused_call(error) from error
    return answer, str(dict(await call.trailing_metadata())["x-request-id"])


def _metadata(headers: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple((headers or {}).items())


def _spelled(body: dict[str, Any]) -> dict[str, Any]:
    """Enums as the protocol spells them."""
    spelled = dict(body)
    if "units" in body:
        spelled["units"] = f"UNITS_{body['units'].upper()}"
    if "stop" in body.get("suggest", {}):
        spelled["suggest"] = {**body["suggest"], "stop": f"STOP_{body['suggest']['stop'].upper()}"}
    return spelled


def _from_proto(
    session: pb.Session, request_id: str, suggestions: Any = (), finish_reason: int = 0, text: str | None = None
) -> Shown:
    return Shown(
        session.id,
        session.revision,
        session.length,
        session.cursor,
        (session.model.name, session.model.digest, session.model.numerics_id),
        text,
        tuple(Suggestion(s.id, s.text, s.probability, _finish(s.finish_reason) or "") for s in suggestions),
        _finish(finish_reason),
        request_id,
    )


def _finish(reason: int) -> str | None:
    name = pb.FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()  # type: ignore[arg-type]  # from the wire
    return None if name == "unspecified" else name


def _shown(answer: httpx.Response, status: int = 200) -> Shown:
    if answer.status_code != status:
        raise refused(answer)
    return _shown_in(answer.json(), answer.headers["x-request-id"])


def _shown_in(body: dict[str, Any], request_id: str) -> Shown:
    model = body["model"]
    return Shown(
        body["id"],
        body["revision"],
        body["length"],
        body["cursor"],
        (model["name"], model["digest"], model["numerics_id"]),
        body.get("text"),
        tuple(Suggestion(**suggestion) for suggestion in body.get("suggestions", ())),
        body.get("finish_reason"),
        request_id,
    )
