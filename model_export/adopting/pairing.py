"""Which state output belongs to which state input: found by what the graph does, not by what its tensors are called.

Names lie: h and c have been swapped by name order before. In a stack of recurrent layers a state of layer l moves the
states of layer l and of the layers above it, and nothing else, so counting what moves gives the layer of every input
and output. Within a layer only the cell state is carried through by multiplication: fed 1000, its own output leaves the
range of (-2, 2), which nothing else can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_export.adopting.foreign import PROBE_ROWS, ForeignGraph, Lane
from model_export.errors import ExportError

LARGE = 1000.0
BOUND = 2.0
CHAIN_STEPS = 24
CHAIN_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Pair:
    """One recurrent value: what is read back from `output` is fed to `input` with the next token."""

    input: Lane
    output: Lane
    role: Literal["hidden", "cell"]
    layer: int


@dataclass(frozen=True, slots=True)
class Probe:
    """moved[i, o]: whether input i moves output o.  carried[i, o]: whether a large input i makes output o large."""

    moved: NDArray[np.bool_]
    carried: NDArray[np.bool_]


def find_pairs(graph: ForeignGraph, wanted: Mapping[str, str]) -> tuple[Pair, ...]:
    """Pair every state, ordered by layer, hidden before cell, and check that they chain.

    wanted: pairs that the user named, input to output. Raises ExportError that says what contradicts or which flags to
    give.
    """
    if len(graph.state_inputs) != len(graph.state_outputs):
        raise ExportError(
            f"{len(graph.state_inputs)} states go in and {len(graph.state_outputs)} come out; each must come back. "
            + graph.listing()
        )
    for name, choices in ((i, graph.state_inputs) for i in wanted):
        _check_name(name, choices, graph)
    for name, choices in ((o, graph.state_outputs) for o in wanted.values()):
        _check_name(name, choices, graph)
    probe = _probe(graph)
    found = _pairs_by_behaviour(graph, probe)
    pairs = _pairs_as_told(graph, probe, wanted) if found is None else _agreed(found, wanted)
    _check_chain(graph, pairs)
    return pairs


def _check_name(name: str, choices: Sequence[Lane], graph: ForeignGraph) -> None:
    if name not in {lane.tensor for lane in choices}:
        raise ExportError(f"--pair names {name!r}, which is no such state. {graph.listing()}")


def _probe(graph: ForeignGraph) -> Probe:
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 128, (1, PROBE_ROWS))
    base = [_random_state(generator, lane) for lane in graph.state_inputs]
    before = graph.states_of(graph.run(tokens, base))
    shape = (len(graph.state_inputs), len(graph.state_outputs))
    moved, carried = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for number, lane in enumerate(graph.state_inputs):
        other = _random_state(generator, lane)
        after = graph.states_of(graph.run(tokens, [*base[:number], other, *base[number + 1 :]]))
        moved[number] = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        if lane.dtype == "float32":
            large = np.full_like(base[number], LARGE)
            after = graph.states_of(graph.run(tokens, [*base[:number], large, *base[number + 1 :]]))
            carried[number] = [a.dtype == np.float32 and bool((np.abs(a) > BOUND).any()) for a in after]
    return Probe(moved, carried)


def _random_state(generator: np.random.Generator, lane: Lane) -> NDArray[np.generic]:
    shape = (PROBE_ROWS, lane.width)
    if lane.dtype == "uint8":
        return generator.integers(64, 192, shape).astype(np.uint8)
    return generator.uniform(-0.5, 0.5, shape).astype(np.float32)


def _pairs_by_behaviour(graph: ForeignGraph, probe: Probe) -> tuple[Pair, ...] | None:
    """The only pairing that fits the probe, or None if there is none or more than one."""
    reach, sources = probe.moved.sum(axis=1), probe.moved.sum(axis=0)
    inputs = [np.flatnonzero(reach == count) for count in sorted(set(reach.tolist()), reverse=True)]
    outputs = [np.flatnonzero(sources == count) for count in sorted(set(sources.tolist()))]
    if [len(group) for group in inputs] != [len(group) for group in outputs]:
        return None
    pairs: list[Pair] = []
    for layer, (ins, outs) in enumerate(zip(inputs, outputs, strict=True)):
        matched = _match_layer(probe.carried[np.ix_(ins, outs)])
        if matched is None:
            return None
        for (i, o), role in matched.items():
            pairs.append(Pair(graph.state_inputs[ins[i]], graph.state_outputs[outs[o]], role, layer))
    if any((p.input.dtype, p.input.width) != (p.output.dtype, p.output.width) for p in pairs):
        return None
    return tuple(pairs)


def _match_layer(carried: NDArray[np.bool_]) -> dict[tuple[int, int], Literal["hidden", "cell"]] | None:
    """One state: it is the hidden one. Two: the one that is carried is the cell, the rest are a pair too."""
    if carried.shape == (1, 1):
        return {(0, 0): "hidden"}
    if carried.shape != (2, 2) or carried.sum() != 1:
        return None
    cell_in, cell_out = (int(axis[0]) for axis in np.nonzero(carried))
    return {(1 - cell_in, 1 - cell_out): "hidden", (cell_in, cell_out): "cell"}


def _agreed(found: tuple[Pair, ...], wanted: Mapping[str, str]) -> tuple[Pair, ...]:
    for pair in found:
        told = wanted.get(pair.input.tensor, pair.output.tensor)
        if told != pair.output.tensor:
            raise ExportError(
                f"--pair {pair.input.tensor}={told} is wrong: what {pair.input} feeds comes back as {pair.output} "
                f"({pair.role} state of layer {pair.layer}); leave the flag out, or give --pair "
                f"{pair.input.tensor}={pair.output.tensor}"
            )
    return found


def _pairs_as_told(graph: ForeignGraph, probe: Probe, wanted: Mapping[str, str]) -> tuple[Pair, ...]:
    """The user's pairs, where the probe is not enough; layers in the order of the inputs."""
    names = dict.fromkeys(lane.tensor for lane in graph.state_inputs)
    missing = [name for name in names if name not in wanted]
    if missing:
        flags = " ".join(f"--pair {name}=OUTPUT" for name in missing)
        outputs = ", ".join(dict.fromkeys(lane.tensor for lane in graph.state_outputs))
        raise ExportError(f"which states belong together is ambiguous; give {flags} with outputs among {outputs}")
    pairs: list[Pair] = []
    layers: dict[str, int] = {}
    for number, lane in enumerate(graph.state_inputs):
        matching = [o for o in graph.state_outputs if o.tensor == wanted[lane.tensor] and o.slice == lane.slice]
        if not matching or (matching[0].dtype, matching[0].width) != (lane.dtype, lane.width):
            raise ExportError(f"--pair {lane.tensor}={wanted[lane.tensor]}: the shapes differ. {graph.listing()}")
        output = matching[0]
        role: Literal["hidden", "cell"] = (
            "cell" if probe.carried[number, graph.state_outputs.index(output)] else "hidden"
        )
        layer = layers[role] = layers.get(role, -1) + 1
        pairs.append(Pair(lane, output, role, layer))
    return tuple(sorted(pairs, key=lambda pair: (pair.layer, pair.role == "cell")))


def _check_chain(graph: ForeignGraph, pairs: Sequence[Pair]) -> None:
    """Tokens one at a time, the states read back, must give what the whole chunk gives."""
    tokens = np.random.default_rng(1).integers(0, 128, (CHAIN_STEPS, PROBE_ROWS))
    output_of = {pair.input: graph.state_outputs.index(pair.output) for pair in pairs}
    whole = graph.run(tokens, graph.blank_states(PROBE_ROWS))
    states = graph.blank_states(PROBE_ROWS)
    for token in tokens:
        outputs = graph.run(token[None], states)
        after = graph.states_of(outputs)
        states = [after[output_of[lane]] for lane in graph.state_inputs]
    expected = whole[graph.head][-1] if graph.time_major else whole[graph.head][:, -1]
    found = outputs[graph.head][0] if graph.time_major else outputs[graph.head][:, 0]
    difference = float(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max())
    if not difference <= CHAIN_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        listed = ", ".join(f"{pair.input}={pair.output}" for pair in pairs)
        raise ExportError(
            f"the states do not chain: {CHAIN_STEPS} single steps differ from one chunk by {difference:.3g} with the "
            f"pairs {listed}; the graph keeps something that is no input"
        )
