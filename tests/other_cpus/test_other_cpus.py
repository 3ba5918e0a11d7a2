"""int8 ends in the same states and logits on CPUs of other families, to the last bit.

Haswell adds pairs of products in int16, as every x86 without VNNI does; the ARMs multiply and add in ways of their own.
What all of them have is a fused multiply-add, which sigmoid and tanh are made of: on an x86 from before 2013 there is
none, and a cell may differ in its last bit. Probabilities are not compared: log-softmax differs from family to family.
The numerics id tells both.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from model_export.graphs import int8
from model_export.graphs.building import tensor
from model_export.weights import LanguageModelWeights, LstmLayer
from tests.other_cpus.emulation import EmulatedPython, arm, x86
from tests.unit.runtime.test_onnx_model import random_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).with_name("read_states.py")
STEPS, ROWS = 24, 9
Array = NDArray[np.generic]
Arrays = dict[str, Array]


def widest_sums() -> LanguageModelWeights:
    """Every product as large as it can be: all weights of a row have one size, and so become +-64."""
    weights = random_weights()
    generator = np.random.default_rng(3)

    def signs(array: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = generator.choice([-1.0, 1.0], (len(array), 1)) * 0.02
        return np.broadcast_to(rows, array.shape).astype(np.float32)

    layers = tuple(LstmLayer(signs(layer.inputs), signs(layer.recurrent), layer.bias) for layer in weights.layers)
    return LanguageModelWeights(weights.embedding, layers, signs(weights.head), weights.head_bias)


def with_logits(data: bytes) -> onnx.ModelProto:
    """The graph with its logits among its outputs, where it reads single steps and chunks."""
    model = onnx.load_model_from_string(data)
    (choice,) = model.graph.node
    step, several = (attribute.g for attribute in sorted(choice.attribute, key=lambda a: a.name, reverse=True))
    inner = several.node[-1]
    follow, chunk = (attribute.g for attribute in sorted(inner.attribute, key=lambda a: a.name, reverse=True))
    none = numpy_helper.from_array(np.zeros((0, 0, 256), np.float32), "no_logits")
    follow.node.append(onnx.helper.make_node("Constant", [], ["follow_logits"], value=none))
    inner.output.append("several_logits")
    choice.output.append("logits")
    for graph, prefix in ((step, "single_step_"), (follow, "follow_"), (chunk, "chunk_"), (several, "several_")):
        graph.output.append(tensor(f"{prefix}logits", "float32", ["n", "rows", 256]))
    model.graph.output.append(tensor("logits", "float32", ["n", "rows", 256]))
    return model


@pytest.fixture(scope="module", params=[random_weights, widest_sums], ids=["random", "widest sums"])
def question(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Arrays]:
    """A graph that also gives its logits, what it is fed, and what it answers on this machine's own CPU."""
    weights = request.param()
    folder = tmp_path_factory.mktemp("question")
    onnx.save(with_logits(int8.build(weights)), folder / "model.int8.onnx")
    generator = np.random.default_rng(0)
    fed: Arrays = {"tokens": generator.integers(0, 256, (STEPS, ROWS))}
    for state in int8.states(weights):
        shape = (ROWS, state.width)
        if state.dtype == "uint8":
            fed[state.input] = generator.choice([0, 1, 127, 128, 129, 254, 255], shape).astype(np.uint8)
        else:
            size = generator.choice([0.1, 1.0, 30.0, 1e30], (ROWS, 1))
            fed[state.input] = (generator.standard_normal(shape) * size).astype(np.float32)
    np.savez(folder / "inputs.npz", **fed)  # type: ignore[arg-type]  # its stubs want allow_pickle to be a bool
    arguments = [str(folder / name) for name in ("model.int8.onnx", "inputs.npz", "here.npz")]
    subprocess.run([sys.executable, str(SCRIPT), *arguments], check=True, timeout=60)
    return folder, folder / "inputs.npz", dict(np.load(folder / "here.npz"))


@pytest.fixture(scope="session")
def on_arm(pytestconfig: pytest.Config) -> Callable[[str], EmulatedPython]:
    """Kept between runs: making an ARM's Python takes a minute."""
    cache = pytestconfig.cache
    assert cache is not None
    return lambda cpu: arm(cpu, cache.mkdir("arm64"))


def answers(python: EmulatedPython, question: tuple[Path, Path, Arrays]) -> dict[str, tuple[Array, Array]]:
    """The states and the logits there and here, by name."""
    folder, inputs, here = question
    there = folder / "there.npz"
    python.run(str(SCRIPT), str(folder / "model.int8.onnx"), str(inputs), str(there))
    with np.load(there) as found:
        both = {name: (found[name], here[name]) for name in here}
    assert len(both) == 4 + 4 + 3  # the states at the end, those of the followed steps, two logits and the top tokens
    for values, _ in both.values():
        assert values.size and np.isfinite(np.asarray(values, np.float64)).all()
    return both


def test_an_x86_without_vnni_and_avx512_ends_in_the_same_bits(question: tuple[Path, Path, Arrays]) -> None:
    for name, (there, here) in answers(x86("Haswell"), question).items():
        assert there.tobytes() == here.tobytes(), name


@pytest.mark.parametrize("cpu", ["neoverse-n1", "max"])
def test_an_arm_ends_in_the_same_bits(
    cpu: str, question: tuple[Path, Path, Arrays], on_arm: Callable[[str], EmulatedPython]
) -> None:
    for name, (there, here) in answers(on_arm(cpu), question).items():
        assert there.tobytes() == here.tobytes(), name


def test_an_x86_without_fused_multiply_add_differs_in_a_last_bit_at_most(question: tuple[Path, Path, Arrays]) -> None:
    for name, (there, here) in answers(x86("SandyBridge"), question).items():
        if name == "top_tokens":  # what is as likely as another token, but for a last bit, may change places with it
            continue
        np.testing.assert_allclose(
            there.astype(np.float64), here.astype(np.float64), rtol=1e-5, atol=1e-5, err_msg=name
        )
