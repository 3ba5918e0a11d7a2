"""The tasks on which `forget-bias` compares two beginnings: those of the lab that small LSTMs learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from model_export.cells.lstm import Lstm
from model_export.lab.experiments import copy, counting, remember, selective
from model_export.lab.gradients import MemoryPath, memory_path
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import new_network

FAR_XS = 30  # x's of the task whose letter must be kept for long
UNITS = 10  # of each layer
_SELECTED = 5  # a's at most, and X's, of the task in which some letters are passed over


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned: batches to train on, and whether a network does it without a mistake.

    example: sequences of one length, that a gradient is followed through; their last target is asked for.
    """

    symbols: Symbols
    layers: int
    draw: Callable[[np.random.Generator], Batch]
    share_right: Callable[[Network], float]
    example: Batch


def tasks() -> dict[str, Task]:
    """Counting to ten, counting and passing over, remembering a letter for a while and for long, copying three."""
    tests = [remember.draw_sequence(np.random.default_rng(seed), 6) for seed in range(60)]
    far = [remember.draw_round(np.random.default_rng(seed), 6, FAR_XS) for seed in range(60)]
    passing = [selective.draw_sequence(np.random.default_rng(seed), _SELECTED) for seed in range(60)]
    triples = batch_of([copy.sequence(one) for one in copy.TRIPLES], [copy.foreseeable()] * len(copy.TRIPLES))

    def counts(network: Network) -> float:
        return float(np.mean([counting.is_exact(network, n) for n in range(1, 11)]))

    return {
        "counting": Task(
            counting.LETTERS,
            1,
            lambda generator: batch_of([counting.sequence(int(n)) for n in generator.integers(1, 11, 32)]),
            counts,
            batch_of([counting.sequence(10)]),
        ),
        "selective": Task(
            selective.LETTERS,
            1,
            lambda generator: batch_of([selective.draw_sequence(generator, _SELECTED) for _ in range(32)]),
            lambda network: selective.exact_share(network, passing),
            batch_of([selective.LETTERS.encode("aXaXXaaXXaYbbbbb")]),
        ),
        "remember": Task(
            remember.LETTERS,
            1,
            lambda generator: batch_of([remember.draw_sequence(generator, 6) for _ in range(24)]),
            lambda network: remember.answered_right(network, tests),
            batch_of([remember.LETTERS.encode(f"{letter}xxxxxxY{letter.lower()}") for letter in "AB"]),
        ),
        "remember far": Task(
            remember.LETTERS,
            1,
            lambda generator: batch_of([remember.draw_round(generator, 6, FAR_XS) for _ in range(24)]),
            lambda network: remember.answered_right(network, far),
            batch_of([remember.LETTERS.encode(f"{letter}{'x' * FAR_XS}Y{letter.lower()}") for letter in "AB"]),
        ),
        "copy": Task(copy.LETTERS, 2, lambda generator: triples, copy.copied, triples),
    }


def answers_after_x() -> Batch:
    """Unseen rounds of A or B, some x's, Y and the answer, of which the answers are to be predicted."""
    tests = [remember.draw_sequence(np.random.default_rng(seed), 6) for seed in range(60)]
    return batch_of(tests, [remember.answers(one) for one in tests])


def new_with_bias(task: Task, bias: int, seed: int) -> Network:
    """A network for a task, the forget gates of all layers beginning at this bias."""
    network = new_network(NetworkConfig(task.symbols, units=UNITS, layers=task.layers), seed)
    for layer in network.stack.layers:
        assert isinstance(layer, Lstm)
        with torch.no_grad():
            layer.b[layer.units : 2 * layer.units] = float(bias)
    return network


def path_of(task: Task, bias: int, seed: int) -> MemoryPath:
    """How far the last letter of a task's example, before the end, is felt along a new network's top memory."""
    network = new_with_bias(task, bias, seed).double()
    *below, top = network.stack.layers
    assert isinstance(top, Lstm)
    last = len(task.example.inputs) - 2  # where the last letter is asked for
    xs = network.embedding(task.example.inputs[: last + 1])
    for layer in below:
        xs, _ = layer(xs, layer.initial(xs.shape[1]))
    wanted = task.example.targets[last]
    return memory_path(top, xs.detach(), lambda h: torch.nn.functional.cross_entropy(network.head(h), wanted))
