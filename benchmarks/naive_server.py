"""The simplest honest server to compare with: FastAPI in front of onnxruntime, the whole context fed at every request.

`python -m benchmarks.naive_server FOLDER PRECISION MAX_BYTES` opens a port of the system's choice and says which. It
has the same graph, one intra-op thread and no spinning, as Carousel has; the context goes through the model in one
call, and greedy decoding carries the states from then on, as anybody would write it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from service.runtime.onnx_model import OnnxStepModel, load_model
from service.transport.listening import open_socket


class SuggestRequest(BaseModel):
    """The whole text left of the cursor."""

    text: str


class SuggestResponse(BaseModel):
    """The greedy continuation."""

    text: str


def create_app(model: OnnxStepModel, max_bytes: int) -> FastAPI:
    """One route; requests run on FastAPI's threads, onnxruntime releases the interpreter lock."""
    app = FastAPI()

    @app.post("/suggest")
    def suggest(request: SuggestRequest) -> SuggestResponse:
        tokens = np.frombuffer(request.text.encode(), np.uint8).astype(np.int64)
        chunk = np.concatenate(([model.start_token], tokens))[:, None]
        result = model.step(chunk, model.initial_states(1))
        suggestion = bytearray([int(result.top_tokens[0, 0])])
        while len(suggestion) < max_bytes:
            result = model.step(np.array([[suggestion[-1]]], np.int64), result.states)
            suggestion.append(int(result.top_tokens[0, 0]))
        return SuggestResponse(text=suggestion.decode(errors="ignore"))

    return app


async def serve(app: FastAPI) -> None:
    """Serve on a free port of the loopback address until a signal comes."""
    with open_socket("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        entry = {"event": "serving", "host": "127.0.0.1", "port": listening.getsockname()[1]}
        print(json.dumps(entry), file=sys.stderr, flush=True)
        await server.serve(sockets=[listening])


def main() -> None:
    """Load the model and serve."""
    folder, precision, max_bytes = sys.argv[1:]
    wanted: Literal["fp32", "int8"] = "fp32" if precision == "fp32" else "int8"
    asyncio.run(serve(create_app(load_model(Path(folder), wanted), int(max_bytes))))


if __name__ == "__main__":
    main()
