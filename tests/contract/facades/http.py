"""REST: `edits`, `complete`, and `complete` as events."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, Self

import httpx

from service.errors import Code
from service.transport.statuses import STATUSES
from tests.contract.facades.facade import EVERYTHING, Ability, Asked, Facade, Refused, Told
from tests.integration.servers import Running

JSON = {"content-type": "application/json"}


class HttpFacade(Facade):
    """One path that takes JSON. `media_type` is that of its errors."""

    media_type: ClassVar[str] = "application/problem+json"
    can: ClassVar[frozenset[Ability]] = EVERYTHING
    sheds = False

    def __init__(self, client: httpx.AsyncClient, server: Running) -> None:
        self.client, self.server = client, server

    @classmethod
    @asynccontextmanager
    async def to(cls, server: Running) -> AsyncIterator[Self]:
        async with httpx.AsyncClient(base_url=server.http, verify=False) as client:
            yield cls(client, server)

    def status(self, code: Code) -> object:
        return STATUSES[code].http

    @abstractmethod
    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        """The path, the body and the headers that ask it."""

    @abstractmethod
    def told(self, answer: httpx.Response) -> Told:
        """What a successful answer says."""

    def refused(self, answer: httpx.Response) -> Refused:
        """What another one says."""
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["code"] == answer.headers["x-carousel-code"]
        assert problem["request_id"] == answer.headers["x-request-id"]
        return self.refusal(answer, problem["detail"], problem.get("field"))

    def refusal(self, answer: httpx.Response, message: str, field: str | None) -> Refused:
        """With what every shape has in its headers."""
        assert answer.headers["content-type"] == self.media_type
        retry = answer.headers.get("retry-after")
        return Refused(
            answer.headers["x-carousel-code"],
            answer.status_code,
            message=message,
            field=field,
            retry_after_s=None if retry is None else float(retry),
        )

    async def ask(self, asked: Asked) -> Told:
        path, body, headers = await self.request(asked)
        if asked.unknown_field:
            body = {**body, "nonsense": 1}
        return self._read(await self.client.post(path, json=body, headers=headers))

    async def nonsense(self) -> None:
        path, _, headers = await self.request(Asked())
        self._read(await self.client.post(path, content=b'{"', headers={**headers, **JSON}))

    def _read(self, answer: httpx.Response) -> Told:
        if not answer.is_success:
            raise self.refused(answer)
        return self.told(answer)

    async def created(self, asked: Asked, text: str) -> str:
        """The session of the request, or a new one with this text."""
        if asked.session is not None:
            return asked.session
        body = {"text": text} if asked.model is None else {"text": text, "model": asked.model}
        answer = await self.client.post("/v1/sessions", json=body, headers=asked.headers)
        if not answer.is_success:
            raise self.refused(answer)
        return str(answer.json()["id"])

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        """HTTP/1.1 cancels by closing the connection; one that is cut is reset."""
        path, body, headers = await self.request(Asked(text, max_bytes=self.longest))
        host, port = "127.0.0.1", self.server.addresses.http_port
        _, writer = await asyncio.open_connection(host, port)
        content = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"host: {host}:{port}", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in {**headers, **JSON}.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await begun()
        if cut:
            writer.transport.abort()
        else:
            writer.close()


class RestEdit(HttpFacade):
    """The last letter is typed, and suggestions are asked for with it."""

    name = "REST edits"
    says: ClassVar[Literal["suggestions"]] = "suggestions"
    sheds = True
    longest = 512

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        session = await self.created(asked, asked.text[:-1])
        return f"/v1/sessions/{session}/edits", edit_body(asked), asked.headers

    def told(self, answer: httpx.Response) -> Told:
        return suggestion_told(answer.json())


def edit_body(asked: Asked) -> dict[str, Any]:
    return {
        "revision": asked.revision,
        "edits": [{"insert": asked.text[-1:]}],
        "suggest": {"count": 1, "max_bytes": asked.max_bytes, "stop": "none"},
    }


def suggestion_told(answer: dict[str, Any]) -> Told:
    if not answer["suggestions"]:
        return Told("", answer["finish_reason"])
    (one,) = answer["suggestions"]
    return Told(one["text"], one["finish_reason"])


class RestComplete(HttpFacade):
    """The session's text goes on."""

    name = "REST complete"
    says: ClassVar[Literal["completions"]] = "completions"
    can: ClassVar[frozenset[Ability]] = EVERYTHING - {"revision"}
    longest = 4096

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        session = await self.created(asked, asked.text)
        return f"/v1/sessions/{session}/complete", {"max_bytes": asked.max_bytes}, asked.headers

    def told(self, answer: httpx.Response) -> Told:
        (one,) = answer.json()["completions"]
        return Told(one["text"], one["finish_reason"])


class RestPrompt(RestComplete):
    """The text is the prompt."""

    name = "REST prompt"
    can: ClassVar[frozenset[Ability]] = EVERYTHING - {"revision", "session"}

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        named = {} if asked.model is None else {"model": asked.model}
        return "/v1/complete", {"prompt": asked.text, "max_bytes": asked.max_bytes, **named}, asked.headers


class RestEvents(RestComplete):
    """The same, as events."""

    name = "REST events"

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        path, body, headers = await super().request(asked)
        return path, body, {**headers, "accept": "text/event-stream"}

    def told(self, answer: httpx.Response) -> Told:
        pieces = events_of(answer)
        return Told("".join(piece["text"] for piece in pieces), pieces[-1].get("finish_reason"))


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The data of every event but OpenAI's last."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]
