"""A request to infer, from tensors to tensors: what both facades call.

A request of a sequence appends its text to what the sequence holds; another one is about its own text alone. Either way
the outputs are those of the whole text, so that a sequence and a text sent at once are answered with the same bits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from service.engine.requests import ModelIdentity
from service.errors import DeadlineExceeded, InvalidArgument
from service.sessions.commands import Tenant
from service.sessions.growing import Asked, GrowingTexts, Told
from service.sessions.service import Sessions
from service.tensors.ports import TensorModel
from service.transport.kserve import metadata
from service.transport.kserve.answering import ANSWERED_BY_SCORE, outputs_of
from service.transport.kserve.metadata import LOG_LIKELIHOOD
from service.transport.kserve.parameters import InSequence, Options, Parameters, read_options
from service.transport.kserve.refusals import InferRefusals, TimedOut, loading_is_off, no_statistics, unknown_model
from service.transport.kserve.repository import (
    FIRST,
    AsStarted,
    ModelVersion,
    Repository,
    ServedVersion,
    VersionState,
    served,
)
from service.transport.kserve.rows import Rows, read_rows
from service.transport.kserve.sequence_ids import session_of
from service.transport.kserve.signatures import OF_TEXT, Signature, config_of_tensors, signature_of
from service.transport.kserve.statistics import ModelStatistics, Taken
from service.transport.kserve.tensor_inference import TensorInference
from service.transport.kserve.tensors import Tensor
from service.transport.kserve.turns import Turns


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What is asked. version: empty for the newest.  outputs: the names of those that are wanted; empty for all."""

    model: str
    version: str
    id: str
    parameters: Parameters
    inputs: Sequence[Tensor]
    outputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """What is answered; `parameters` name the model's digest and numerics id."""

    model: str
    version: str
    id: str
    parameters: Mapping[str, str]
    outputs: Sequence[Tensor]


class Inference:
    """One for the process, for both facades: sequences stand in one line, and are counted together.

    repository: the versions of the models; if not given, they never change.
    tensors: the models that read no text.  retention_s: how long a sequence lives after its last piece; None for ever.
    clock: that of the engine.  clock_ns: for durations.  now_ns: the wall clock.
    """

    def __init__(
        self,
        sessions: Sessions,
        repository: Repository | None = None,
        *,
        tensors: TensorInference | None = None,
        retention_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sessions, self._texts, self._turns = sessions, GrowingTexts(sessions), Turns()
        self._retention_s, self._clock, self._clock_ns = retention_s, clock, clock_ns
        self._repository, self._tensors = repository or AsStarted(sessions), tensors
        self._now_ns = now_ns
        self._statistics: dict[tuple[str, str], ModelStatistics] = {}

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The newest versions of those that are served, the default first."""
        tensors = () if self._tensors is None else self._tensors.models.values()
        return [*self._sessions.models, *(model.identity for model in tensors)]

    def model(self, name: str, version: str = "") -> ServedVersion:
        """The version of the model of this name, by its number or by its digest; the newest for "". Raises NotFound."""
        newest = next((model for model in self.models if model.name == name), None)
        if newest is None:
            raise unknown_model(name)
        found = served(self._versions_of(name), version or newest.digest)
        if found is None:
            raise unknown_model(name, version)
        return found

    def versions(self, name: str) -> Sequence[str]:
        """The numbers of the versions of a model that are loaded."""
        return [one.number for one in self._versions_of(name) if one.identity is not None]

    def config(self, name: str, version: str = "") -> metadata.Json:
        """The model's configuration. Raises NotFound."""
        config = metadata.model_config(self.model(name, version), self.versions(name), self._retention_s)
        return config if (tensors := self._of_tensors(name)) is None else config | config_of_tensors(tensors, config)

    def described(self, name: str, version: str = "") -> metadata.Json:
        """The model's tensors. Raises NotFound."""
        return metadata.model_metadata(self.model(name, version), self.versions(name), *self.signature(name))

    def signature(self, name: str) -> Signature:
        """The tensors of a model; those of a text, if there is no such model."""
        return OF_TEXT if (tensors := self._of_tensors(name)) is None else signature_of(tensors)

    def serves(self, name: str, version: str = "") -> bool:
        """Whether there is such a model, of such a version, and it is loaded."""
        there_is = any(model.name == name for model in self.models)
        return there_is and (not version or served(self._versions_of(name), version) is not None)

    def index(self, *, ready_only: bool = False) -> list[metadata.Json]:
        """Every version of every model, also those that were unloaded or could not be loaded."""
        versions = [version for model in self.models for version in self._versions_of(model.name)]
        return metadata.repository_index([one for one in versions if one.identity is not None or not ready_only])

    async def load(self, tenant: Tenant, name: str) -> None:
        """As `Repository.load`."""
        if self._of_tensors(name) is not None:
            raise loading_is_off()
        await self._repository.load(tenant, name)

    async def unload(self, tenant: Tenant, name: str) -> None:
        """As `Repository.unload`."""
        if self._of_tensors(name) is not None:
            raise loading_is_off()
        await self._repository.unload(tenant, name)

    def statistics(self, name: str = "", version: str = "") -> list[metadata.Json]:
        """Of one model or version, or of all. Raises InvalidArgument, as Triton does, for one that there is not."""
        names = [name] if name else [model.name for model in self.models]
        there_are = [one for of_model in names for one in self._versions_of(of_model) if one.identity]
        if not there_are:
            raise no_statistics(name)
        if version:
            found = served(there_are, version)
            there_are = [] if found is None else [one for one in there_are if one.number == found.number]
        if not there_are:
            raise no_statistics(name, version)
        return [self._counted(one.name, one.number).told() for one in there_are]

    async def infer(self, tenant: Tenant, request: InferRequest, *, deadline_s: float | None = None) -> InferAnswer:
        """Answer one request; whoever cancels it stops its work.

        Raises NotFound for the model, InvalidArgument, Unavailable when the request's timeout is over, and what the
        sessions raise. Nothing is appended to a sequence then.
        """
        began_ns = self._clock_ns()
        model = self.model(request.model, request.version)
        statistics = self._counted(model.name, model.number)
        refusals = InferRefusals(model.name, request.id)
        if (tensors := self._of_tensors(model.name)) is not None:
            return await self._infer_tensors(tenant, tensors, model, request, refusals, deadline_s)
        try:
            options = read_options(request.parameters, refusals)
            wanted = _wanted(request.outputs, refusals)
            rows = read_rows(request.inputs, refusals)
            read_ns = self._clock_ns()
            told = await self._tell(tenant, model, request.version, options, rows, wanted, refusals, deadline_s)
            told_ns = self._clock_ns()
            outputs = outputs_of(told, wanted, options.top_k)
        except BaseException:
            statistics.failed(self._clock_ns() - began_ns)
            raise
        ended_ns = self._clock_ns()
        taken = Taken(read_ns - began_ns, told_ns - read_ns, ended_ns - told_ns, ended_ns - began_ns)
        statistics.succeeded(len(rows.pieces), taken)
        answered = told[0].model
        version = self.model(model.name, answered.digest).number if answered != model.identity else model.number
        return InferAnswer(model.name, version, request.id, metadata.identity(answered), outputs)

    def _counted(self, name: str, number: str) -> ModelStatistics:
        """What is counted of a version; begun when it is first asked for."""
        counted = self._statistics.get((name, number))
        if counted is None:
            counted = self._statistics[name, number] = ModelStatistics(name, number, self._now_ns)
        return counted

    async def _infer_tensors(
        self,
        tenant: Tenant,
        model: TensorModel,
        version: ServedVersion,
        request: InferRequest,
        refusals: InferRefusals,
        deadline_s: float | None,
    ) -> InferAnswer:
        assert self._tensors is not None, "it has the model"
        began_ns, statistics = self._clock_ns(), self._counted(version.name, version.number)
        try:
            outputs = await self._tensors.infer(
                tenant, model, request.parameters, request.inputs, request.outputs, refusals, deadline_s
            )
        except BaseException:
            statistics.failed(self._clock_ns() - began_ns)
            raise
        taken_ns = self._clock_ns() - began_ns
        statistics.succeeded(request.inputs[0].shape[0], Taken(0, taken_ns, 0, taken_ns))
        return InferAnswer(version.name, version.number, request.id, metadata.identity(model.identity), outputs)

    def _versions_of(self, name: str) -> Sequence[ModelVersion]:
        """Of a model that reads no text there is one, that of the start."""
        tensors = self._of_tensors(name)
        if tensors is None:
            return self._repository.versions(name)
        return [ModelVersion(name, FIRST, VersionState.READY, identity=tensors.identity)]

    def _of_tensors(self, name: str) -> TensorModel | None:
        return None if self._tensors is None else self._tensors.models.get(name)

    async def _tell(
        self,
        tenant: Tenant,
        model: ServedVersion,
        version: str,
        options: Options,
        rows: Rows,
        wanted: frozenset[str],
        refusals: InferRefusals,
        deadline_s: float | None,
    ) -> Sequence[Told]:
        """What is to be known of every row."""
        timeout_s = None if options.timeout_us is None else self._clock() + options.timeout_us / 1e6
        asked = Asked(
            score=bool(wanted & ANSWERED_BY_SCORE),
            likelihood=LOG_LIKELIHOOD in wanted,
            suggest=options.suggest if wanted - ANSWERED_BY_SCORE else None,
            deadline_s=min((at for at in (timeout_s, deadline_s) if at is not None), default=None),
        )
        try:
            if options.sequence is None:
                return await _together([self._texts.read(tenant, model.pinned, text, asked) for text in rows.pieces])
            return [await self._go_on(tenant, model, version, options.sequence, rows, asked, refusals)]
        except InvalidArgument as error:
            raise _named(error, rows) from error
        except DeadlineExceeded as error:
            if timeout_s is not None and asked.deadline_s == timeout_s:
                raise TimedOut from error
            raise

    async def _go_on(
        self,
        tenant: Tenant,
        model: ServedVersion,
        version: str,
        sequence: InSequence,
        rows: Rows,
        asked: Asked,
        refusals: InferRefusals,
    ) -> Told:
        if len(rows.pieces) != 1:
            raise refusals.batch_in_sequence()
        (piece,) = rows.pieces
        session = session_of(model.name, sequence.id)
        async with self._turns.turn((tenant, session)):
            if sequence.start and sequence.end:
                told = await self._texts.read(tenant, model.pinned, piece, asked)
                await self._texts.forget(tenant, session)
                return told
            if sequence.start:
                if version and model.identity not in self.models:
                    raise refusals.begins_in_newest(self.model(model.name).number)
                return await self._texts.begin(tenant, session, model.name, piece, asked)
            only = model.identity if version else None
            went_on = await self._texts.append(
                tenant, session, piece, asked, whole=rows.whole, last=sequence.end, only=only
            )
        if went_on is None:
            raise refusals.not_started(sequence.id)
        return went_on


def _wanted(names: Sequence[str], refusals: InferRefusals) -> frozenset[str]:
    there_are = [tensor.name for tensor in metadata.OUTPUTS]
    for name in names:
        if name not in there_are:
            raise refusals.unexpected_output(name)
    return frozenset(names or there_are)


async def _together(works: Sequence[Coroutine[None, None, Told]]) -> Sequence[Told]:
    """All of them beside each other; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _named(error: InvalidArgument, rows: Rows) -> InvalidArgument:
    """The domain's refusal, with the field as this protocol calls it."""
    name = _FIELDS.get(error.field, error.field)
    return error if name is error.field else InvalidArgument(name or f"inputs.{rows.input}", error.message)


_FIELDS: Mapping[str, str | None] = {
    "text": None,
    "prompt": None,
    "start": None,
    "appended": None,
    "edits[0].insert": None,
    "edits[0].replace.text": None,
    "suggest.max_bytes": "parameters.max_bytes",
}
