"""Triton's own client, in every form that it has, told by lines of JSON what to call; in an environment of its own.

`python drive.py HTTP_URL GRPC_URL`: a question a line, an answer a line. Nothing of this repository is imported.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc  # type: ignore[import-not-found]  # in that environment alone
import tritonclient.grpc.aio as triton_grpc_aio  # type: ignore[import-not-found]  # likewise
import tritonclient.http as triton_http  # type: ignore[import-not-found]  # likewise
import tritonclient.http.aio as triton_http_aio  # type: ignore[import-not-found]  # likewise
from tritonclient.utils import InferenceServerException  # type: ignore[import-not-found]  # likewise

Json = dict[str, Any]
_PATIENCE_S = 30
_DTYPES = {"INT64": np.int64, "FP32": np.float32, "FP64": np.float64}


class Clients:
    """One client of each form; `loop` runs the asynchronous ones."""

    def __init__(self, http: str, grpc: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.of_form: dict[str, Any] = {
            "http": triton_http.InferenceServerClient(http, concurrency=4),
            "grpc": triton_grpc.InferenceServerClient(grpc),
        }
        self.loop.run_until_complete(self._open(http, grpc))

    async def _open(self, http: str, grpc: str) -> None:
        self.of_form["http.aio"] = triton_http_aio.InferenceServerClient(http)
        self.of_form["grpc.aio"] = triton_grpc_aio.InferenceServerClient(grpc)

    def answer(self, question: Json) -> Any:
        """What the client returns, as JSON; raises what it raises."""
        form, call, given = question["form"], question["call"], question.get("with", {})
        client = self.of_form[form]
        if call == "infer":
            return self._infer(form, client, given)
        if call == "async_infer":
            return self._async_infer(form, client, given)
        if call == "stream":
            return self._stream(form, client, given["requests"], given.get("headers"))
        if form.startswith("grpc") and call.startswith("get_"):
            given = {**given, "as_json": True}
        result = getattr(client, call)(**given)
        return self.loop.run_until_complete(result) if asyncio.iscoroutine(result) else result

    def _infer(self, form: str, client: Any, given: Json) -> Json:
        result = client.infer(**_arguments(form, given))
        if asyncio.iscoroutine(result):
            result = self.loop.run_until_complete(result)
        return _shown(result)

    def _async_infer(self, form: str, client: Any, given: Json) -> Json:
        if form == "http":
            return _shown(client.async_infer(**_arguments(form, given)).get_result(timeout=_PATIENCE_S))
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.async_infer(callback=lambda result, error: answers.put((result, error)), **_arguments(form, given))
        return _result(answers.get(timeout=_PATIENCE_S))

    def _stream(self, form: str, client: Any, requests: list[Json], headers: dict[str, str] | None) -> list[Json]:
        if form == "grpc.aio":
            return self.loop.run_until_complete(self._aio_stream(client, requests, headers))
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=headers)
        try:
            for request in requests:
                client.async_stream_infer(**_arguments(form, request))
            return [_result_or_error(answers.get(timeout=_PATIENCE_S)) for _ in requests]
        finally:
            client.stop_stream()

    async def _aio_stream(self, client: Any, requests: list[Json], headers: dict[str, str] | None) -> list[Json]:
        async def asked() -> AsyncIterator[Json]:
            for request in requests:
                yield _arguments("grpc", request)

        return [_result_or_error(pair) async for pair in client.stream_infer(asked(), headers=headers)]


def _arguments(form: str, given: Json) -> Json:
    """The client's keyword arguments. inputs: name, shape, datatype, values, and over HTTP whether as bytes."""
    kind = triton_http if form.startswith("http") else triton_grpc
    arguments = {name: value for name, value in given.items() if name not in ("inputs", "outputs")}
    arguments["inputs"] = [_input(kind, tensor) for tensor in given["inputs"]]
    if "outputs" in given:
        arguments["outputs"] = [_output(kind, wanted) for wanted in given["outputs"]]
    return arguments


def _input(kind: Any, tensor: Json) -> Any:
    made = kind.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
    values = tensor["values"]
    if tensor["datatype"] == "BYTES":
        array = np.array([value.encode("latin-1") for value in values], dtype=np.object_)
    else:
        array = np.array(values, _DTYPES[tensor["datatype"]])
    array = array.reshape(tensor["shape"])
    if kind is triton_http:
        made.set_data_from_numpy(array, binary_data=tensor.get("binary", True))
    else:
        made.set_data_from_numpy(array)
    return made


def _output(kind: Any, wanted: str | Json) -> Any:
    if isinstance(wanted, str):
        return kind.InferRequestedOutput(wanted)
    return kind.InferRequestedOutput(wanted["name"], binary_data=wanted["binary"])


def _shown(result: Any) -> Json:
    """The answer, every tensor as the client gives it to NumPy."""
    response = result.get_response()
    if isinstance(response, dict):
        about = {"id": response.get("id", ""), "model": response["model_name"], "version": response["model_version"]}
        parameters, named = response.get("parameters", {}), [output["name"] for output in response["outputs"]]
    else:
        about = {"id": response.id, "model": response.model_name, "version": response.model_version}
        parameters = {name: _parameter(value) for name, value in response.parameters.items()}
        named = [output.name for output in response.outputs]
    return {**about, "parameters": parameters, "outputs": {name: _tensor(result.as_numpy(name)) for name in named}}


def _parameter(parameter: Any) -> Any:
    return getattr(parameter, parameter.WhichOneof("parameter_choice"))


def _tensor(array: Any) -> Json:
    values = array.reshape(-1).tolist()
    if array.dtype == np.object_:
        values = [value if isinstance(value, str) else value.decode("latin-1") for value in values]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "values": values}


def _result(pair: tuple[Any, Any]) -> Json:
    result, error = pair
    if error is not None:
        raise error
    return _shown(result)


def _result_or_error(pair: tuple[Any, Any]) -> Json:
    try:
        return {"result": _result(pair)}
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}


def main() -> None:
    clients = Clients(*sys.argv[1:])
    say = partial(print, flush=True)
    for line in sys.stdin:
        try:
            answer: Json = {"result": clients.answer(json.loads(line))}
        except InferenceServerException as error:
            answer = {"error": error.message(), "status": error.status()}
        say(json.dumps(answer))


if __name__ == "__main__":
    main()
