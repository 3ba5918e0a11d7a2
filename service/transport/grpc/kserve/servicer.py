"""The methods of inference.GRPCInferenceService that take one request: parse, call, encode."""

from __future__ import annotations

from collections.abc import Mapping

from service.errors import InvalidArgument
from service.transport.grpc.calls import Call, Unary
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.kserve import messages
from service.transport.kserve import metadata
from service.transport.kserve.inference import Inference
from service.transport.kserve.refusals import (
    UNLOAD_DEPENDENTS,
    no_cuda,
    no_load_parameters,
    no_region,
    no_shared_memory,
    no_trace,
)
from service.transport.kserve.settings import log_settings, refuse_log_settings, refuse_trace_settings
from service.transport.lifecycle import Lifecycle

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class InferenceMethods:
    """Errors pass through: CallGuard turns them into statuses."""

    def __init__(self, inference: Inference, lifecycle: Lifecycle) -> None:
        self._inference, self._lifecycle = inference, lifecycle

    def by_name(self) -> Mapping[str, Unary]:
        """Every unary method by its name in the protocol."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
            "SystemSharedMemoryStatus": self.system_status,
            "SystemSharedMemoryRegister": self.system_register,
            "SystemSharedMemoryUnregister": self.system_unregister,
            "CudaSharedMemoryStatus": self.cuda_status,
            "CudaSharedMemoryRegister": self.cuda_register,
            "CudaSharedMemoryUnregister": self.cuda_unregister,
            "TraceSetting": self.trace_setting,
            "LogSettings": self.log_settings,
        }

    async def server_live(self, _: pb.ServerLiveRequest, __: Call) -> pb.ServerLiveResponse:
        """Whoever gets an answer knows."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Call) -> pb.ServerReadyResponse:
        """Whether the models are warm, and the process is not ending."""
        return pb.ServerReadyResponse(ready=self._lifecycle.ready)

    async def model_ready(self, request: pb.ModelReadyRequest, _: Call) -> pb.ModelReadyResponse:
        """False too for a model that there is not, as Triton has it."""
        ready = self._lifecycle.ready and self._inference.serves(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def server_metadata(self, _: pb.ServerMetadataRequest, __: Call) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return pb.ServerMetadataResponse(**metadata.server_metadata())

    async def model_metadata(self, request: pb.ModelMetadataRequest, _: Call) -> pb.ModelMetadataResponse:
        """A model's tensors."""
        return messages.model_metadata(self._inference.described(request.name, request.version))

    async def model_infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        """Infer once; a caller who goes away stops the work."""
        asked = messages.infer_request(request, self._inference.signature(request.model_name).inputs)
        return messages.infer_response(await self._inference.infer(call.tenant, asked, deadline_s=call.deadline_s))

    async def model_config(self, request: pb.ModelConfigRequest, _: Call) -> pb.ModelConfigResponse:
        """A model's configuration."""
        return messages.model_config(self._inference.config(request.name, request.version))

    async def model_statistics(self, request: pb.ModelStatisticsRequest, _: Call) -> pb.ModelStatisticsResponse:
        """Of one model, or of all."""
        return messages.model_statistics(self._inference.statistics(request.name, request.version))

    async def repository_index(self, request: pb.RepositoryIndexRequest, _: Call) -> pb.RepositoryIndexResponse:
        """The versions of the models, also those that were unloaded or could not be loaded."""
        _check_repository(request.repository_name)
        models = self._inference.index(ready_only=request.ready)
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(**model) for model in models])

    async def load(self, request: pb.RepositoryModelLoadRequest, call: Call) -> pb.RepositoryModelLoadResponse:
        """Look into a model's folder, and serve what is new there."""
        _check_repository(request.repository_name)
        for name in request.parameters:
            raise no_load_parameters(name)
        await self._inference.load(call.tenant, request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: pb.RepositoryModelUnloadRequest, call: Call) -> pb.RepositoryModelUnloadResponse:
        """Unload the older versions of a model."""
        _check_repository(request.repository_name)
        for name in request.parameters:
            if name != UNLOAD_DEPENDENTS:
                raise no_load_parameters(name)
        await self._inference.unload(call.tenant, request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def system_status(
        self, request: pb.SystemSharedMemoryStatusRequest, _: Call
    ) -> pb.SystemSharedMemoryStatusResponse:
        """There are no regions."""
        if request.name:
            raise no_region(request.name, "system")
        return pb.SystemSharedMemoryStatusResponse()

    async def system_register(
        self, request: pb.SystemSharedMemoryRegisterRequest, _: Call
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Refused."""
        raise no_shared_memory(request.name)

    async def system_unregister(
        self, _: pb.SystemSharedMemoryUnregisterRequest, __: Call
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """What is not registered need not be unregistered: programs do so before they begin."""
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(
        self, request: pb.CudaSharedMemoryStatusRequest, _: Call
    ) -> pb.CudaSharedMemoryStatusResponse:
        """There are no regions."""
        if request.name:
            raise no_region(request.name, "cuda")
        return pb.CudaSharedMemoryStatusResponse()

    async def cuda_register(
        self, request: pb.CudaSharedMemoryRegisterRequest, _: Call
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refused."""
        raise no_cuda(request.name)

    async def cuda_unregister(
        self, _: pb.CudaSharedMemoryUnregisterRequest, __: Call
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """As for memory of the system."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def trace_setting(self, request: pb.TraceSettingRequest, _: Call) -> pb.TraceSettingResponse:
        """What is traced: nothing."""
        if request.model_name and not self._inference.serves(request.model_name):
            raise no_trace(request.model_name)
        refuse_trace_settings(request.settings)
        answer = pb.TraceSettingResponse()
        for name, values in metadata.trace_settings().items():
            answer.settings[name].value.extend(values)
        return answer

    async def log_settings(self, request: pb.LogSettingsRequest, _: Call) -> pb.LogSettingsResponse:
        """What is logged."""
        refuse_log_settings(request.settings)
        answer = pb.LogSettingsResponse()
        for name, value in log_settings().items():
            if isinstance(value, bool):
                answer.settings[name].bool_param = value
            elif isinstance(value, int):
                answer.settings[name].uint32_param = value
            else:
                answer.settings[name].string_param = value
        return answer


def _check_repository(name: str) -> None:
    """Triton's sentence: there is one repository, and it has no name."""
    if name:
        raise InvalidArgument("repository_name", "'repository_name' specification is not supported")
