"""From options and texts to llama.cpp's answers: each text read, gone on from, and fitted to what comes after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.engine.requests import FinishReason
from service.sessions import between
from service.sessions.commands import CompletedPiece, CompleteText, Prompt, ScoreText, Tenant
from service.sessions.service import Sessions
from service.transport.http.continued import Continued, complete_between, complete_whole
from service.transport.http.infill.answers import Reading, answer_of, partial_of, timings_of
from service.transport.http.infill.ends import Ends
from service.transport.http.infill.options import Options
from service.transport.http.token_scores import TokenScores

_NO_SCORES = TokenScores(np.zeros(0, np.float32), np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32))


@dataclass(frozen=True, slots=True)
class Answering:
    """One request: the texts to go on from, and what comes after each of them. `clock` is in seconds."""

    sessions: Sessions
    tenant: Tenant
    options: Options
    model: str
    prompts: tuple[str, ...]
    suffix: str = ""
    clock: Callable[[], float] = time.monotonic

    async def answers(self) -> list[dict[str, Any]]:
        """Every completion of every text, whole. Raises CarouselErrors."""
        asking = [asyncio.ensure_future(self._whole(place)) for place in range(len(self.prompts))]
        try:
            return [answer for several in await asyncio.gather(*asking) for answer in several]
        finally:
            for one in asking:  # the first error ends what the others still do
                one.cancel()

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """What a stream tells: pieces, and the answer of each completion, whose content was told before."""
        for place in range(len(self.prompts)):
            if self._fits or self.options.max_bytes == 0:
                for answer in await self._told_at_the_end(place):
                    yield answer
            else:
                async for event in self._as_it_comes(place):
                    yield event

    @property
    def _fits(self) -> bool:
        """Whether there is anything after the text that a completion could be fitted to."""
        return bool(self.suffix.strip())

    async def _whole(self, place: int) -> list[dict[str, Any]]:
        reading = await self._read(self.prompts[place])
        began = self.clock()
        completions = await self._completions(reading)
        seconds = self.clock() - began
        return [
            answer_of(place * self.options.count + index, one, reading, seconds, self.options, self.model)
            for index, one in enumerate(completions)
        ]

    async def _completions(self, reading: Reading) -> list[Continued]:
        options = self.options
        if options.max_bytes == 0:
            return [Continued("", FinishReason.LENGTH, _NO_SCORES)] * options.count
        ends = self._ends()
        if not self._fits:
            return await complete_whole(self.sessions, self.tenant, self._command(reading), cut=ends)
        command = self._command(reading, candidates=between.candidates_for(options.count))
        source = Prompt(reading.text, options.model)
        fitted = await complete_between(
            self.sessions, self.tenant, command, source, self.suffix, wanted=options.count, cut=ends
        )
        return fitted.best

    async def _told_at_the_end(self, place: int) -> list[dict[str, Any]]:
        reading = await self._read(self.prompts[place])
        began = self.clock()
        events = []
        for index, one in enumerate(await self._completions(reading), place * self.options.count):
            if one.text:
                events.append(partial_of(index, one.text, one.tokens, reading, self.options))
            events.append(self._last(index, one, reading, self.clock() - began))
        return events

    async def _as_it_comes(self, place: int) -> AsyncGenerator[dict[str, Any], None]:
        options, first = self.options, place * self.options.count
        reading = await self._read(self.prompts[place])
        began, ends = self.clock(), self._ends()
        telling = [_Telling(ends) for _ in range(options.count)]
        async with await self.sessions.complete(self.tenant, self._command(reading)) as completion:
            async for piece in completion:
                one = telling[piece.index]
                text, ended = one.take(piece)
                if text:
                    told = len(one.text[: one.told].encode())
                    event = partial_of(first + piece.index, text, told, reading, options)
                    if options.timings_per_token:
                        event["timings"] = timings_of(reading, told, self.clock() - began).model_dump()
                    yield event
                if ended is not None:
                    yield self._last(first + piece.index, ended, reading, self.clock() - began)
                    if all(other.done for other in telling):
                        return

    def _last(self, index: int, completion: Continued, reading: Reading, seconds: float) -> dict[str, Any]:
        answer = answer_of(index, completion, reading, seconds, self.options, self.model)
        return answer | {name: empty for name, empty in (("content", ""), ("tokens", [])) if name in answer}

    def _ends(self) -> Ends:
        ends = Ends(self.options.n_indent, self.options.t_max_predict_s, self.clock)
        ends.start()
        return ends

    async def _read(self, text: str) -> Reading:
        """Read a text, or find that it was read: what the answer's timings tell, and what a warm-up wants."""
        began = self.clock()
        data = text.encode()
        scored = await self.sessions.score(self.tenant, ScoreText(Prompt(data, self.options.model), start=len(data)))
        return Reading(text, len(data), scored.steps, self.clock() - began)

    def _command(self, reading: Reading, candidates: int | None = None) -> CompleteText:
        options = self.options
        return CompleteText(
            source=Prompt(reading.text, options.model),
            max_bytes=options.max_bytes,
            count=candidates or options.count,
            stop=options.stop,
            sampling=options.sampling,
            seed=options.seed,
            top=options.n_probs or None,
        )


class _Telling:
    """One completion of a stream: `told` of its characters have been told; `done` once it has ended."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self.text = ""
        self.told = 0
        self.done = False

    def take(self, piece: CompletedPiece) -> tuple[str, Continued | None]:
        """What may be told now, and the whole of it once it ends. Where it may yet be cut, whole lines are told."""
        if self.done:
            return "", None
        self.text += piece.text
        end = self._ends(self.text)
        if end is not None:
            self.text = self.text[:end]
        self.done = end is not None or piece.finish_reason is not None
        upto = len(self.text)
        if self._ends.any and not self.done:
            whole_lines = self.text[: max(self.text.rfind("\n"), 0)]
            upto = max(len(whole_lines.rstrip()), self.told)
        text, self.told = self.text[self.told : upto], upto
        if not self.done:
            return text, None
        return text, Continued(self.text, FinishReason.LENGTH if end is not None else _finish(piece))


def _finish(piece: CompletedPiece) -> FinishReason:
    assert piece.finish_reason is not None, "it is the last piece"
    return piece.finish_reason
