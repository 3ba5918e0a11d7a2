"""Whether a graph has the tensors that the manifest names, each with its type and width, and wants no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnxruntime as ort

from service.model.manifest import Following, Graph, Manifest, ModelFolderError, StateTensor

_ORT_TYPES = {
    "bool": "tensor(bool)",
    "float32": "tensor(float)",
    "int64": "tensor(int64)",
    "uint8": "tensor(uint8)",
}


def check_tensors(graph: Graph, manifest: Manifest, session: ort.InferenceSession) -> None:
    """Every tensor that the manifest names is in the graph with its type and width, and the graph wants no other."""
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    expected: dict[str, tuple[str, int | None]] = {graph.tokens: ("int64", None), graph.positions: ("int64", None)}
    expected |= {s.input: (s.dtype, s.width) for s in graph.states}
    _compare(graph.file, "input", inputs, expected)
    extra = sorted(set(inputs) - set(expected))
    if extra:
        raise ModelFolderError(f"{graph.file} wants inputs that manifest.json does not name: {', '.join(extra)}")
    expected = {s.output: (s.dtype, s.width) for s in graph.states}
    expected[graph.log_probabilities] = ("float32", manifest.vocabulary_size)
    expected[graph.top_log_probabilities] = ("float32", manifest.top_k)
    expected[graph.top_tokens] = ("int64", manifest.top_k)
    if graph.follow is not None:
        _check_following(graph, graph.follow)
        expected |= {n: (s.dtype, s.width) for n, s in zip(graph.follow.states, graph.states, strict=True)}
    _compare(graph.file, "output", outputs, expected)
    if graph.follow is not None:
        optional = {tensor.name: tensor for tensor in session.get_overridable_initializers()}
        _compare(graph.file, "optional input", optional, {graph.follow.flag: ("bool", 1)})
    check_pairs(graph.states)


def compare_tensors(
    file: str,
    session: ort.InferenceSession,
    inputs: Mapping[str, tuple[str, int | None]],
    outputs: Mapping[str, tuple[str, int | None]],
) -> None:
    """Every tensor that is expected, dtype and last dimension by its name, is in the graph, which wants no other."""
    found = {tensor.name: tensor for tensor in session.get_inputs()}
    _compare(file, "input", found, inputs)
    if extra := sorted(set(found) - set(inputs)):
        raise ModelFolderError(f"{file} wants inputs that manifest.json does not name: {', '.join(extra)}")
    _compare(file, "output", {tensor.name: tensor for tensor in session.get_outputs()}, outputs)


def _check_following(graph: Graph, following: Following) -> None:
    if len(following.states) != len(graph.states) or len(set(following.states)) != len(graph.states):
        raise ModelFolderError(
            f"manifest.json: follow: {len(graph.states)} states need as many outputs, each with a name of its own, "
            f"not {', '.join(following.states)}"
        )


def check_pairs(states: Sequence[StateTensor]) -> None:
    """No tensor is paired twice, and each can start as it says."""
    for attribute in ("input", "output"):
        names = [getattr(s, attribute) for s in states]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelFolderError(f"manifest.json: states: the {attribute} {twice[0]!r} is paired twice")
    for state in states:
        _check_initial(state)


def _check_initial(state: StateTensor) -> None:
    if state.dtype == "uint8" and not (0 <= state.initial <= 255 and state.initial.is_integer()):
        raise ModelFolderError(f"manifest.json: states: {state.input!r} is uint8 and cannot start as {state.initial}")


def _compare(
    file: str, kind: str, found: dict[str, ort.NodeArg], expected: Mapping[str, tuple[str, int | None]]
) -> None:
    for name, (dtype, width) in expected.items():
        tensor = found.get(name)
        if tensor is None:
            raise ModelFolderError(
                f"{file} has no {kind} {name!r}, but manifest.json names it; it has {', '.join(found) or 'none'}"
            )
        if tensor.type != _ORT_TYPES[dtype]:
            raise ModelFolderError(f"{file}: {kind} {name!r} is {tensor.type}, manifest.json says {dtype}")
        last = tensor.shape[-1] if tensor.shape else None
        if width is not None and isinstance(last, int) and last != width:
            raise ModelFolderError(f"{file}: {kind} {name!r} has width {last}, manifest.json says {width}")
