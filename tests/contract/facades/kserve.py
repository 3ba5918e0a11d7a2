"""The Open Inference Protocol: `infer` over REST, ModelInfer and ModelStreamInfer over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

import grpc
import httpx

from service.errors import Code
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from tests.contract.facades.facade import EVERYTHING, Ability, Asked, Refused, Told
from tests.contract.facades.grpc import GrpcFacade, refused_call
from tests.contract.facades.http import HttpFacade

_SERVICE = "/inference.GRPCInferenceService"
_CAN: frozenset[Ability] = EVERYTHING - {"session", "revision"}


class KserveRest(HttpFacade):
    """One row of one piece of text; a suggestion is the output."""

    name = "KServe REST"
    says: ClassVar[Literal["suggestions"]] = "suggestions"
    can: ClassVar[frozenset[Ability]] = _CAN
    late = Code.UNAVAILABLE  # as Triton has it
    media_type = "application/json"
    longest = 512

    def status(self, code: Code) -> object:
        return 400 if code is Code.INVALID_ARGUMENT else super().status(code)

    async def request(self, asked: Asked) -> tuple[str, dict[str, Any], dict[str, str]]:
        parameters: dict[str, Any] = {"max_bytes": asked.max_bytes, "stop": "none"}
        if asked.timeout_s is not None:
            parameters["timeout"] = int(asked.timeout_s * 1e6)
        body = {
            "inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [asked.text]}],
            "outputs": [{"name": "SUGGESTION"}, {"name": "FINISH_REASON"}],
            "parameters": parameters,
        }
        return f"/v2/models/{asked.model or 'fake'}/infer", body, asked.headers

    def told(self, answer: httpx.Response) -> Told:
        outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
        return Told(outputs["SUGGESTION"], outputs["FINISH_REASON"])

    def refused(self, answer: httpx.Response) -> Refused:
        assert set(answer.json()) == {"error"}
        return self.refusal(answer, answer.json()["error"], None)


class KserveGrpc(GrpcFacade):
    """The same over gRPC."""

    name = "KServe gRPC"
    says: ClassVar[Literal["suggestions"]] = "suggestions"
    can: ClassVar[frozenset[Ability]] = _CAN - {"origin"}
    late = Code.UNAVAILABLE
    sheds = False
    longest = 512

    def request(self, asked: Asked) -> pb.ModelInferRequest:
        parameters = {
            "max_bytes": pb.InferParameter(int64_param=asked.max_bytes),
            "stop": pb.InferParameter(string_param="none"),
        }
        if asked.timeout_s is not None:
            parameters["timeout"] = pb.InferParameter(int64_param=int(asked.timeout_s * 1e6))
        if asked.unknown_field:
            parameters["nonsense"] = pb.InferParameter(int64_param=1)
        output = pb.ModelInferRequest.InferRequestedOutputTensor
        contents = pb.InferTensorContents(bytes_contents=[asked.text.encode()])
        return pb.ModelInferRequest(
            model_name=asked.model or "fake",
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name="TEXT", datatype="BYTES", shape=[1, 1], contents=contents)
            ],
            outputs=[output(name="SUGGESTION"), output(name="FINISH_REASON")],
            parameters=parameters,
        )

    def _plain(self, asked: Asked) -> Asked:
        """The deadline is a parameter here, and so is what is not known."""
        return Asked(tenant=asked.tenant, authorization=asked.authorization)

    async def ask(self, asked: Asked) -> Told:
        return await self._infer(self.request(asked), self._plain(asked))

    async def nonsense(self) -> None:
        await self._infer(b"\xff\xff\xff", Asked())

    async def _infer(self, request: pb.ModelInferRequest | bytes, asked: Asked) -> Told:
        try:
            answer = await self.call(f"{_SERVICE}/ModelInfer", request, pb.ModelInferResponse, asked)
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        return _told(answer)

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        request = self.request(Asked(text, max_bytes=self.longest))
        call = self.call(f"{_SERVICE}/ModelInfer", request, pb.ModelInferResponse, Asked())
        await begun()
        if cut:
            await self.channel.close()
        else:
            call.cancel()


def _told(answer: pb.ModelInferResponse) -> Told:
    """Of raw contents: each a length in four bytes, and so many bytes."""
    names = [output.name for output in answer.outputs]
    values = [raw[4:].decode() for raw in answer.raw_output_contents]
    outputs = dict(zip(names, values, strict=True))
    return Told(outputs["SUGGESTION"], outputs["FINISH_REASON"])


class KserveStream(KserveGrpc):
    """The same on a stream, whose errors are sentences in its messages."""

    name = "KServe stream"

    async def _infer(self, request: pb.ModelInferRequest | bytes, asked: Asked) -> Told:
        call = self._stream(asked)
        try:
            await call.write(request if isinstance(request, bytes) else request.SerializeToString())
            answer = await call.read()
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        finally:
            call.cancel()
        if answer.error_message:
            raise Refused("", None, message=answer.error_message, field=None, retry_after_s=None)
        return _told(answer.infer_response)

    def _stream(self, asked: Asked) -> Any:
        path = f"{_SERVICE}/ModelStreamInfer"
        make = self.channel.stream_stream(path, response_deserializer=pb.ModelStreamInferResponse.FromString)
        return make(metadata=asked.metadata)

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        call = self._stream(Asked())
        await call.write(self.request(Asked(text, max_bytes=self.longest)).SerializeToString())
        await begun()
        if cut:
            await self.channel.close()
        else:
            call.cancel()
