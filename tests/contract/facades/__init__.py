"""Every facade in one vocabulary, a file for each family of protocols. A new facade joins by a line in `FACADES`."""

from __future__ import annotations

from tests.contract.facades.facade import Facade
from tests.contract.facades.grpc import GrpcComplete, GrpcEdit, GrpcType
from tests.contract.facades.http import RestComplete, RestEdit, RestEvents, RestPrompt
from tests.contract.facades.kserve import KserveGrpc, KserveRest, KserveStream
from tests.contract.facades.llama import LlamaCompletion, LlamaEvents, LlamaInfill
from tests.contract.facades.openai import OpenAICompletion, OpenAIEvents
from tests.contract.facades.websocket import WebSocketType

FACADES: tuple[type[Facade], ...] = (
    GrpcEdit,
    GrpcType,
    GrpcComplete,
    RestEdit,
    RestComplete,
    RestEvents,
    RestPrompt,
    WebSocketType,
    OpenAICompletion,
    OpenAIEvents,
    LlamaCompletion,
    LlamaEvents,
    LlamaInfill,
    KserveRest,
    KserveGrpc,
    KserveStream,
)
