"""ModelStreamInfer: requests in, a response for each in the order of the requests; an error is one of the responses.

Requests of several sequences are worked on beside each other, those of one sequence in turn. At most `_MAX_UNTOLD` are
under way or not yet read by the caller; then nothing more is taken from the stream, so memory is bounded. Whoever sends
`triton_grpc_error: true` with the call wants an error to end the stream with its status instead, as in Triton.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial

from service.errors import CarouselError, InvalidArgument, StreamOver
from service.transport.grpc.calls import Call, Context
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.kserve import messages
from service.transport.kserve.inference import Inference
from service.transport.lifecycle import Lifecycle
from service.transport.observer import CANCELLED, OK, RequestObserver, level_of
from service.transport.statuses import INTERNAL_MESSAGE, code_of, shown

_MAX_UNTOLD = 64
_OPERATION = "ModelStreamInfer"
_ERRORS_END_IT = "triton_grpc_error"

Requests = AsyncIterator[pb.ModelInferRequest | InvalidArgument]
_Work = asyncio.Task[pb.ModelStreamInferResponse]


class InferenceStream:
    """The behaviour of the method; one for the process."""

    def __init__(
        self,
        inference: Inference,
        *,
        lifecycle: Lifecycle,
        observer: RequestObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inference, self._lifecycle, self._observer, self._clock = inference, lifecycle, observer, clock
        self._log = logging.getLogger("carousel.grpc")

    async def serve(self, requests: Requests, call: Call, context: Context) -> None:
        """Answer one stream until its caller half-closes it, or it is over: then raises StreamOver."""
        errors_end_it = dict(context.invocation_metadata() or ()).get(_ERRORS_END_IT) == "true"
        stream = _Stream(requests, partial(self.answer, call=call, raises=errors_end_it), self._lifecycle)
        await stream.run(context)

    async def answer(
        self, request: pb.ModelInferRequest | InvalidArgument, call: Call, *, raises: bool
    ) -> pb.ModelStreamInferResponse:
        """The response, or the error in its place; raises it if that is wanted."""
        began_s = self._clock()
        code = OK
        try:
            if isinstance(request, InvalidArgument):
                raise request
            asked = messages.infer_request(request, self._inference.signature(request.model_name).inputs)
            answer = await self._inference.infer(call.tenant, asked, deadline_s=call.deadline_s)
            return pb.ModelStreamInferResponse(infer_response=messages.infer_response(answer, streamed=True))
        except asyncio.CancelledError:
            code = CANCELLED
            raise
        except Exception as error:
            code = code_of(error).value
            if not isinstance(error, CarouselError):
                self._log.exception("a request of a stream failed", extra={"operation": _OPERATION})
            if raises:
                raise
            return _failed(request, error)
        finally:
            seconds = self._clock() - began_s
            self._observer.request("grpc", _OPERATION, code, seconds)
            about = {"operation": _OPERATION, "code": code, "seconds": round(seconds, 6)}
            self._log.log(level_of(code), "call", extra=about)


class _Stream:
    """One call: a task reads and begins, another writes what is answered, in the order in which it was begun."""

    def __init__(
        self,
        requests: Requests,
        answer: Callable[[pb.ModelInferRequest | InvalidArgument], Coroutine[None, None, pb.ModelStreamInferResponse]],
        lifecycle: Lifecycle,
    ) -> None:
        self._requests, self._answer, self._lifecycle = requests, answer, lifecycle
        self._begun: asyncio.Queue[_Work | None] = asyncio.Queue()
        self._works: set[_Work] = set()
        self._room = asyncio.Semaphore(_MAX_UNTOLD)
        self._waiting_to_read = False
        self._over = False  # nothing more is to be read
        self._finished = False  # there is nothing more

    async def run(self, context: Context) -> None:
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._stop_in_time(reading))
        try:
            while (work := await self._begun.get()) is not None:
                await context.write(await work)
                self._room.release()
            await asyncio.wait((reading,))
            if not reading.cancelled():
                reading.result()  # raises what the reading ended with
        finally:
            for task in (reading, ending, *self._works):
                task.cancel()
        if self._lifecycle.draining:
            raise StreamOver("the server is shutting down", 1.0)
        if not self._finished:
            raise StreamOver("this stream has come to its age", 0.0)

    async def _stop_in_time(self, reading: asyncio.Task[None]) -> None:
        await self._lifecycle.stream_over()
        self._over = True
        if self._waiting_to_read:  # else it has a request in its hands, which is answered before it ends by itself
            reading.cancel()

    async def _read(self) -> None:
        try:
            while not (self._over or self._lifecycle.draining):
                self._waiting_to_read = True
                request = await anext(self._requests, None)
                self._waiting_to_read = False
                if request is None:
                    self._finished = True
                    return
                work = asyncio.create_task(self._answer(request))
                self._works.add(work)
                work.add_done_callback(self._ended)
                self._begun.put_nowait(work)
                await self._room.acquire()
        finally:
            self._begun.put_nowait(None)

    def _ended(self, work: _Work) -> None:
        self._works.discard(work)
        if not work.cancelled():
            work.exception()  # seen here, because those behind the one that ended the stream are never awaited


def _failed(request: pb.ModelInferRequest | InvalidArgument, error: Exception) -> pb.ModelStreamInferResponse:
    message = shown(str(error)) if isinstance(error, CarouselError) else INTERNAL_MESSAGE
    id_ = "" if isinstance(request, InvalidArgument) else request.id
    return pb.ModelStreamInferResponse(error_message=message, infer_response=pb.ModelInferResponse(id=id_))
