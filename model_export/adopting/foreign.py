"""A graph that we did not write: parsed, found safe to load, and its tensors told apart by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import uses_external_data

from model_export.errors import ExportError
from model_export.graph_session import open_session

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
MIN_OPSET = 13  # since then axes and splits are inputs, which the wrapper relies on
BYTES = 256
NOT_STATES = ("top_tokens", "top_log_probabilities")  # of a graph that follows the contract
PROBE_TIME = 5
PROBE_ROWS = 3

Feeds = dict[str, NDArray[np.generic]]

_DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.UINT8: "uint8",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: `dimensions` holds None where any size fits."""

    name: str
    dtype: str
    dimensions: tuple[int | None, ...]

    def __str__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.dimensions)
        return f"{self.name} {self.dtype} [{shape}]"


@dataclass(frozen=True, slots=True)
class Lane:
    """One layer's part of a state tensor: all of a [rows, width] one, or a slice of a [layers, rows, width] one."""

    tensor: str
    dtype: str
    width: int
    slice: int | None

    def __str__(self) -> str:
        return self.tensor if self.slice is None else f"{self.tensor}[{self.slice}]"


class ForeignGraph:
    """A graph with its tensors told apart. Raises ExportError that lists them where that fails.

    tokens, head: names given by the user, or None to find them.
    """

    def __init__(self, data: bytes, *, tokens: str | None = None, head: str | None = None) -> None:
        self.model = _parse(data)
        constants = {constant.name for constant in self.model.graph.initializer}
        self.inputs = [_describe(v) for v in self.model.graph.input if v.name not in constants]
        self.outputs = [_describe(v) for v in self.model.graph.output]
        self._session = open_session(data)
        self.tokens = self._find_tokens(tokens)
        self.positions = next((t.name for t in self.inputs if t.dtype == "int64" and t.name == "positions"), None)
        self.state_inputs = self._find_state_inputs()
        self.time_major = self._find_time_axis()
        self.head, self.state_outputs = self._sort_outputs(head)

    def listing(self) -> str:
        """Every tensor of the graph, for error messages."""
        return f"Inputs: {'; '.join(map(str, self.inputs))}. Outputs: {'; '.join(map(str, self.outputs))}."

    def run(self, tokens: NDArray[np.int64], states: Sequence[NDArray[np.generic]]) -> Feeds:
        """Feed tokens [time, rows] and one array [rows, width] per state input lane; every output by its name."""
        given = tokens if self.time_major else np.ascontiguousarray(tokens.T)
        feeds: Feeds = {self.tokens.name: given.astype(self.tokens.dtype)}
        if self.positions is not None:
            feeds[self.positions] = np.arange(len(tokens))
        for name in dict.fromkeys(lane.tensor for lane in self.state_inputs):
            parts = [a for lane, a in zip(self.state_inputs, states, strict=True) if lane.tensor == name]
            stacked = next(lane.slice is not None for lane in self.state_inputs if lane.tensor == name)
            feeds[name] = np.stack(parts) if stacked else parts[0]
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def states_of(self, outputs: Feeds) -> list[NDArray[np.generic]]:
        """The state output lanes of what `run` gave, each [rows, width]."""
        return [outputs[s.tensor] if s.slice is None else outputs[s.tensor][s.slice] for s in self.state_outputs]

    def blank_states(self, rows: int) -> list[NDArray[np.generic]]:
        """Zero states: 128 stands for zero where a state is uint8."""
        zeros = {"uint8": 128, "float32": 0}
        return [np.full((rows, lane.width), zeros[lane.dtype], lane.dtype) for lane in self.state_inputs]

    def _find_tokens(self, name: str | None) -> Tensor:
        integers = [t for t in self.inputs if t.dtype in ("int64", "int32") and len(t.dimensions) == 2]
        wanted = [t for t in integers if name in (None, t.name)]
        if len(wanted) != 1:
            raise ExportError(f"no single integer input [time, rows]; name it with --tokens. {self.listing()}")
        return wanted[0]

    def _find_state_inputs(self) -> list[Lane]:
        lanes: list[Lane] = []
        for tensor in self.inputs:
            if tensor.name in (self.tokens.name, self.positions):
                continue
            width = tensor.dimensions[-1] if tensor.dimensions else None
            layers = tensor.dimensions[0] if len(tensor.dimensions) == 3 else None
            stacked = len(tensor.dimensions) == 3 and layers is not None
            if (
                tensor.dtype not in ("float32", "uint8")
                or width is None
                or not (stacked or len(tensor.dimensions) == 2)
            ):
                raise ExportError(
                    f"input {tensor} is neither tokens nor a state, float32 or uint8 [rows, width] or [layers, rows, "
                    f"width] with a fixed width; export the model with explicit states. {self.listing()}"
                )
            slices: list[int | None] = [*range(layers)] if stacked and layers is not None else [None]
            lanes += [Lane(tensor.name, tensor.dtype, width, number) for number in slices]
        if not lanes:
            raise ExportError(
                f"the graph has no state inputs; export it with h and c as inputs and outputs. {self.listing()}"
            )
        return lanes

    def _find_time_axis(self) -> bool:
        """Whether tokens are [time, rows]; found by running both ways, since the states fix the number of rows."""
        tokens = np.zeros((PROBE_TIME, PROBE_ROWS), np.int64)
        reasons = []
        for time_major in (True, False):
            self.time_major = time_major
            try:
                self.run(tokens, self.blank_states(PROBE_ROWS))
            except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no common base but Exception
                reasons.append(str(error).splitlines()[0])
            else:
                return time_major
        raise ExportError(
            f"the graph does not take {PROBE_TIME} tokens for {PROBE_ROWS} rows at once ({reasons[0]}); "
            f"export it with any number of rows and any chunk length. {self.listing()}"
        )

    def _sort_outputs(self, head: str | None) -> tuple[str, list[Lane]]:
        """Tell the head from the states by the shapes of a real run."""
        outputs = self.run(np.zeros((PROBE_TIME, PROBE_ROWS), np.int64), self.blank_states(PROBE_ROWS))
        leading = (PROBE_TIME, PROBE_ROWS) if self.time_major else (PROBE_ROWS, PROBE_TIME)
        heads = [n for n, a in outputs.items() if a.shape == (*leading, BYTES) and a.dtype == np.float32]
        heads = [name for name in heads if head in (None, name)]
        if len(heads) != 1:
            raise ExportError(
                f"no single float32 output {[*leading, BYTES]}, the next byte's distribution after every token "
                f"(candidates: {', '.join(heads) or 'none'}); name it with --head. {self.listing()}"
            )
        lanes: list[Lane] = []
        for name, array in outputs.items():
            if name == heads[0]:
                continue
            if array.shape[:1] == (PROBE_ROWS,) and array.ndim == 2:
                lanes.append(Lane(name, str(array.dtype), array.shape[1], None))
            elif array.ndim == 3 and array.shape[1] == PROBE_ROWS and name not in NOT_STATES:
                lanes += [Lane(name, str(array.dtype), array.shape[2], number) for number in range(array.shape[0])]
        return heads[0], lanes


def _parse(data: bytes) -> ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ExportError(f"not an ONNX file: {error}") from error
    for constant in model.graph.initializer:
        if uses_external_data(constant):
            raise ExportError(f"weight {constant.name} lies outside of the file; save the model as one file")
    for opset in model.opset_import:
        if opset.domain not in KNOWN_DOMAINS:
            raise ExportError(f"operators of domain {opset.domain!r} are not served; use standard ONNX operators")
        if opset.domain in ("", "ai.onnx") and opset.version < MIN_OPSET:
            raise ExportError(f"opset {opset.version} is too old; export the model with opset {MIN_OPSET} or later")
    return model


def _describe(value: ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    sizes = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return Tensor(value.name, _DTYPES.get(kind.elem_type, f"type {kind.elem_type}"), sizes)
