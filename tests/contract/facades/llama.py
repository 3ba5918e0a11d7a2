"""llama.cpp's `/completion`, whole and as events, and `/infill`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import httpx

from service.errors import Code
from tests.contract.facades.facade import EVERYTHING, Ability, Asked, Refused, Told
from tests.contract.facades.http import HttpFacade, events_of


class LlamaCompletion(HttpFacade):
    """The text is the prompt."""

    name = "llama.cpp completion"
    says: ClassVar[Literal["completions"]] = "completions"
    can: ClassVar[frozenset[Ability]] = EVERYTHING - {"session", "revision", "timeout"}
    media_type = "application/json; charset=utf-8"
    longest = 4096

    def status(self, code: Code) -> object:
        return 400 if code is Code.INVALID_ARGUMENT else super().status(code)

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        named = {} if asked.model is None else {"model": asked.model}
        body = {"prompt": asked.text, "n_predict": asked.max_bytes, "temperature": 0, **named}
        return "/completion", body, asked.headers

    def told(self, answer: httpx.Response) -> Told:
        body = answer.json()
        return Told(body["content"], body["stop_type"])

    def refused(self, answer: httpx.Response) -> Refused:
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        assert set(error) == {"code", "message", "type"}
        return self.refusal(answer, error["message"], None)


class LlamaEvents(LlamaCompletion):
    """The same, streamed."""

    name = "llama.cpp events"

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        path, body, headers = await super().request(asked)
        return path, {**body, "stream": True}, headers

    def told(self, answer: httpx.Response) -> Told:
        events = events_of(answer)
        return Told("".join(event["content"] for event in events), events[-1]["stop_type"])


class LlamaInfill(LlamaCompletion):
    """The text is what is left of the cursor; right of it there is nothing."""

    name = "llama.cpp infill"

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        _, body, headers = await super().request(asked)
        return "/infill", {**body, "prompt": "", "input_prefix": asked.text, "input_suffix": ""}, headers
