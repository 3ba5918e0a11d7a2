"""OpenAI's completions, whole and as events."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import httpx

from service.errors import Code
from tests.contract.facades.facade import EVERYTHING, Ability, Asked, Refused, Told
from tests.contract.facades.http import HttpFacade, events_of


class OpenAICompletion(HttpFacade):
    """The text is the prompt."""

    name = "OpenAI completions"
    says: ClassVar[Literal["completions"]] = "completions"
    can: ClassVar[frozenset[Ability]] = EVERYTHING - {"session", "revision", "timeout"}
    media_type = "application/json"
    longest = 4096

    def status(self, code: Code) -> object:
        return 400 if code is Code.INVALID_ARGUMENT else super().status(code)

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        body = {"model": asked.model or "fake", "prompt": asked.text, "max_tokens": asked.max_bytes, "temperature": 0}
        return "/v1/completions", body, asked.headers

    def told(self, answer: httpx.Response) -> Told:
        (choice,) = answer.json()["choices"]
        return Told(choice["text"], choice["finish_reason"])

    def refused(self, answer: httpx.Response) -> Refused:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return self.refusal(answer, error["message"], error["param"])


class OpenAIEvents(OpenAICompletion):
    """The same, streamed."""

    name = "OpenAI events"

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        path, body, headers = await super().request(asked)
        return path, {**body, "stream": True}, headers

    def told(self, answer: httpx.Response) -> Told:
        choices = [event["choices"][0] for event in events_of(answer)]
        return Told("".join(choice["text"] for choice in choices), choices[-1]["finish_reason"])
