"""Requests to models of tensors: numbers or whole words in, what is expected out; with a sequence's states between.

As for texts: a request of a sequence goes on with what the sequence holds, another one is the whole series, and either
way the answer is that of the whole series, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.errors import DeadlineExceeded, InvalidArgument
from service.sessions.commands import Tenant
from service.sessions.records import SessionKey
from service.tensors.ports import Inputs, Numbers, TensorModel
from service.tensors.running import Runner
from service.tensors.sequences import Read, Sequences
from service.transport.kserve.metadata import LOG_PROBABILITIES
from service.transport.kserve.parameters import (
    SEQUENCE_PARAMETERS,
    InSequence,
    Options,
    Parameters,
    integer_parameter,
    read_options,
)
from service.transport.kserve.refusals import InferRefusals, Malformed, TimedOut
from service.transport.kserve.sequence_ids import session_of
from service.transport.kserve.signatures import FORECAST, signature_of
from service.transport.kserve.tensor_inputs import read_inputs
from service.transport.kserve.tensor_outputs import Answered, outputs_of_tensors
from service.transport.kserve.tensors import Tensor
from service.transport.kserve.turns import Turns

MAX_STEPS: Final = 1024
MAX_LOG_PROBABILITIES: Final = 256 * 1024
_TOP_K: Final = 16
_OF_NUMBERS: Final = (*SEQUENCE_PARAMETERS, "steps")
_OF_WORDS: Final = (*SEQUENCE_PARAMETERS, "top_k")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is wanted of the inputs. outputs: by name.  steps: of the forecast.  until_s: on the clock, or None."""

    outputs: frozenset[str]
    steps: int
    top_k: int
    until_s: float | None


class TensorInference:
    """Every model that reads no text, by its name. clock: that of deadlines."""

    def __init__(
        self,
        models: Sequence[TensorModel],
        sequences: Sequences,
        runner: Runner,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.models: Mapping[str, TensorModel] = {model.identity.name: model for model in models}
        self._sequences, self._runner, self._clock, self._turns = sequences, runner, clock, Turns()

    async def infer(
        self,
        tenant: Tenant,
        model: TensorModel,
        given: Parameters,
        inputs: Sequence[Tensor],
        wanted: Sequence[str],
        refusals: InferRefusals,
        deadline_s: float | None,
    ) -> Sequence[Tensor]:
        """The outputs, in the model's order. wanted: their names, all if it is empty.

        Raises InvalidArgument, Unavailable when the request's timeout is over, DeadlineExceeded, Overloaded, and what
        stores raise; nothing is appended to a sequence then.
        """
        options = read_options(given, refusals, _OF_NUMBERS if isinstance(model.reads, Numbers) else _OF_WORDS)
        names = [output.name for output in signature_of(model).outputs]
        for name in wanted:
            if name not in names:
                raise refusals.unexpected_output(name)
        chunks = read_inputs(model, inputs, refusals)
        _check_size(model, sum(chunk.shape[1] for chunk in chunks), wanted)
        timeout_s = None if options.timeout_us is None else self._clock() + options.timeout_us / 1e6
        until_s = min((at for at in (timeout_s, deadline_s) if at is not None), default=None)
        wish = _Wish(
            frozenset(wanted or names),
            integer_parameter(given, "steps", 1, least=1, most=MAX_STEPS),
            _top_k(model, given),
            until_s,
        )
        try:
            answered = await self._answer(tenant, model, options, chunks, wish, refusals)
        except DeadlineExceeded as error:
            if timeout_s is not None and until_s == timeout_s:
                raise TimedOut from error
            raise
        except InvalidArgument as error:
            if error.field == "inputs" and not isinstance(error, Malformed):  # a sentence of Triton's stays
                raise InvalidArgument(f"inputs.{inputs[0].name}", error.message) from error
            raise
        size = sum(one.read.last.size for one in answered if one.read.last is not None)
        return await self._runner.apart(size, outputs_of_tensors, model, answered, wish.outputs, wish.top_k)

    async def _answer(
        self,
        tenant: Tenant,
        model: TensorModel,
        options: Options,
        chunks: Sequence[Inputs],
        wish: _Wish,
        refusals: InferRefusals,
    ) -> Sequence[Answered]:
        if options.sequence is None:
            return [await self._apart(model, chunk, wish) for chunk in chunks]
        if len(chunks) != 1 or chunks[0].shape[1] != 1:
            raise refusals.batch_in_sequence()
        key = SessionKey(tenant, session_of(model.identity.name, options.sequence.id))
        async with self._turns.turn(key):
            return [await self._in_sequence(model, key, options.sequence, chunks[0], wish, refusals)]

    async def _in_sequence(
        self,
        model: TensorModel,
        key: SessionKey,
        sequence: InSequence,
        chunk: Inputs,
        wish: _Wish,
        refusals: InferRefusals,
    ) -> Answered:
        async def further(read: Read) -> Answered:
            return await self._further(model, chunk, read, wish)

        if sequence.start and sequence.end:
            answered = await self._apart(model, chunk, wish)
            await self._sequences.forget(key)
            return answered
        if sequence.start:
            return await self._sequences.begin(model, key, chunk, further=further, until_s=wish.until_s)
        went_on = await self._sequences.append(
            model, key, chunk, further=further, last=sequence.end, until_s=wish.until_s
        )
        if went_on is None:
            raise refusals.not_started(sequence.id)
        return went_on

    async def _apart(self, model: TensorModel, chunk: Inputs, wish: _Wish) -> Answered:
        return await self._further(model, chunk, await self._sequences.read(model, chunk, until_s=wish.until_s), wish)

    async def _further(self, model: TensorModel, chunk: Inputs, read: Read, wish: _Wish) -> Answered:
        """What was read, and the forecast from there if it is wanted."""
        if FORECAST not in wish.outputs:
            return Answered(chunk, read, None)
        if read.last is None:
            raise InvalidArgument("inputs", "there is no step yet from which to go on: give at least one")
        forecast = await self._runner.forecast(
            model.reader, read.last, read.after.states, wish.steps, until_s=wish.until_s
        )
        return Answered(chunk, read, forecast)


def _check_size(model: TensorModel, rows: int, wanted: Sequence[str]) -> None:
    """Raises InvalidArgument (`outputs`) for more log-probabilities than one answer may hold."""
    if isinstance(model.reads, Numbers) or (wanted and LOG_PROBABILITIES not in wanted):
        return
    if rows * model.reads.size > MAX_LOG_PROBABILITIES:
        raise InvalidArgument(
            "outputs",
            f"{LOG_PROBABILITIES} of {rows} rows are {rows * model.reads.size:,} numbers, and an answer holds at most "
            f"{MAX_LOG_PROBABILITIES:,}: send fewer rows, or name the other outputs alone",
        )


def _top_k(model: TensorModel, given: Parameters) -> int:
    if isinstance(model.reads, Numbers):
        return 0
    size = model.reads.size
    return integer_parameter(given, "top_k", min(_TOP_K, size), least=1, most=size)
