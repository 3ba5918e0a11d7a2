"""The handler of inference.GRPCInferenceService, made of its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from service.transport.grpc.calls import CallGuard
from service.transport.grpc.kserve.servicer import SERVICE, InferenceMethods
from service.transport.grpc.kserve.stream import InferenceStream
from service.transport.kserve.inference import Inference
from service.transport.lifecycle import Lifecycle
from service.transport.observer import RequestObserver

if TYPE_CHECKING:
    _Handlers = grpc.GenericRpcHandler[Any, Any]


def inference_handler(
    inference: Inference, guard: CallGuard, lifecycle: Lifecycle, observer: RequestObserver
) -> _Handlers:
    """Every method behind the guard that all calls of this server pass."""
    methods = InferenceMethods(inference, lifecycle)
    stream = InferenceStream(inference, lifecycle=lifecycle, observer=observer)
    return guard.handler(methods.by_name(), {"ModelStreamInfer": stream.serve}, SERVICE)
