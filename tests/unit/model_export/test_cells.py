"""Every cell computes what an independent implementation does, in float64: torch's, ONNX's reference, or NumPy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from model_export.cells.bidirectional import BidirectionalLstm
from model_export.cells.catalogue import CELLS, make_cell
from model_export.cells.cell import Cell, States
from model_export.cells.coupled import CoupledLstm
from model_export.cells.elman import Elman
from model_export.cells.feed_forward import FeedForward
from model_export.cells.full_memory import FullMemoryLstm
from model_export.cells.gru import Gru
from model_export.cells.layer_norm import EPSILON, LayerNormLstm
from model_export.cells.lstm import Lstm
from model_export.cells.lstm_1997 import Lstm1997
from model_export.cells.peephole import PeepholeLstm
from model_export.cells.stack import Stack
from model_export.errors import TrainingError

INPUTS, UNITS, TIME, ROWS = 5, 7, 23, 4
Array = NDArray[np.float64]
C = TypeVar("C", bound=Cell)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _random(cell: nn.Module) -> None:
    """Weights that are large enough for every term of the equations to matter."""
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)


def _made(cell: C) -> tuple[C, Tensor, States]:
    _random(cell)
    states = tuple(torch.randn(ROWS, UNITS) for _ in cell.states)
    return cell, torch.randn(TIME, ROWS, INPUTS), states


def _equal(found: Tensor | Array, wanted: Tensor | Array) -> None:
    one, other = (value.detach().numpy() if isinstance(value, Tensor) else value for value in (found, wanted))
    assert one.dtype == other.dtype == np.float64
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def _check(cell: Cell, xs: Tensor, states: States, outputs: Tensor | Array, after: Sequence[Tensor | Array]) -> None:
    """Step by step and the fast way."""
    for read in (cell.forward, lambda *given: cell.watch(*given)[:2]):
        found, ends = read(xs, states)
        _equal(found, outputs)
        for end, wanted in zip(ends, after, strict=True):
            _equal(end, wanted)


def _torch(module: nn.LSTM | nn.GRU | nn.RNN, weights: Mapping[str, Tensor]) -> Any:
    full = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    module.load_state_dict({**full, **weights})
    return module


def _read_by_torch(module: Any, xs: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
    given = tuple(state[None] for state in states)
    outputs, after = module(xs, given if len(given) == 2 else given[0])
    return outputs, [end[0] for end in (after if isinstance(after, tuple) else (after,))]


def _read_by_onnx(operator: str, xs: Tensor, given: dict[str, Array], **attributes: Any) -> list[Array]:
    """ONNX's reference evaluator on one node in float64: Y, Y_h and, of an LSTM, Y_c."""
    order = ["W", "R", "B", "", "initial_h", "initial_c", "P"]
    names = [name if name in given else "" for name in order]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"] if operator == "LSTM" else ["Y", "Y_h"]
    node = helper.make_node(operator, ["X", *names], outputs, hidden_size=UNITS, **attributes)
    inputs = [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, None, INPUTS])]
    made = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in outputs]
    constants = [numpy_helper.from_array(value[None], name) for name, value in given.items()]
    graph = helper.make_graph([node], "one", inputs, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, *ends = cast(list[Array], ReferenceEvaluator(model).run(None, {"X": xs.numpy()}))
    return [y[:, 0], *(end[0] for end in ends)]


def _iofc(values: Tensor) -> Array:
    i, f, g, o = values.detach().numpy().reshape(4, UNITS, -1)
    return np.concatenate([i, o, f, g]).squeeze()


def _lstm_for_onnx(cell: Any, states: States) -> dict[str, Array]:
    b = _iofc(cell.b)
    h, c = (state.numpy() for state in states)
    return {
        "W": _iofc(cell.W),
        "R": _iofc(cell.R),
        "B": np.concatenate([b, np.zeros_like(b)]),
        "initial_h": h,
        "initial_c": c,
    }


def test_a_feed_forward_layer_is_torch_s_linear_and_tanh() -> None:
    cell, xs, states = _made(FeedForward(INPUTS, UNITS))
    linear = nn.Linear(INPUTS, UNITS)
    linear.load_state_dict({"weight": cell.W, "bias": cell.b})
    _check(cell, xs, states, linear(xs).tanh(), [])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_elman_layer_is_torch_s_rnn(activation: Any) -> None:
    cell, xs, states = _made(Elman(INPUTS, UNITS, activation))
    if activation == "relu":
        with torch.no_grad():
            cell.R.mul_(0.2)  # else it explodes
    weights = {"weight_ih_l0": cell.W, "weight_hh_l0": cell.R, "bias_ih_l0": cell.b}
    module = _torch(nn.RNN(INPUTS, UNITS, nonlinearity=activation), weights)
    _check(cell, xs, states, *_read_by_torch(module, xs, states))


def test_an_lstm_is_torch_s_lstm_and_onnx_s() -> None:
    cell, xs, states = _made(Lstm(INPUTS, UNITS))
    weights = {"weight_ih_l0": cell.W, "weight_hh_l0": cell.R, "bias_ih_l0": cell.b}
    _check(cell, xs, states, *_read_by_torch(_torch(nn.LSTM(INPUTS, UNITS), weights), xs, states))
    y, *ends = _read_by_onnx("LSTM", xs, _lstm_for_onnx(cell, states))
    _check(cell, xs, states, y, ends)


def test_the_first_lstm_is_one_whose_forget_gate_is_open() -> None:
    cell, xs, states = _made(Lstm1997(INPUTS, UNITS))
    module = nn.LSTM(INPUTS, UNITS)
    with torch.no_grad():
        for name, ours in (("weight_ih_l0", cell.W), ("weight_hh_l0", cell.R), ("bias_ih_l0", cell.b)):
            parameter: Tensor = getattr(module, name)
            parameter.zero_()
            for place, block in zip((0, 2, 3), ours.chunk(3), strict=True):  # torch has i, f, g, o
                parameter[place * UNITS : (place + 1) * UNITS] = block
        second: Tensor = getattr(module, "bias_hh_l0")  # noqa: B009  # torch types attributes as modules
        second.zero_()
        second[UNITS : 2 * UNITS] = 50  # sigmoid(50) is 1 less 2e-22
    _check(cell, xs, states, *_read_by_torch(module, xs, states))


def test_a_coupled_lstm_is_one_whose_input_gate_mirrors_the_forget_gate() -> None:
    cell, xs, states = _made(CoupledLstm(INPUTS, UNITS))
    mirrored = [torch.cat([-block[:UNITS], block]) for block in (cell.W, cell.R, cell.b)]
    weights = dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), mirrored, strict=True))
    _check(cell, xs, states, *_read_by_torch(_torch(nn.LSTM(INPUTS, UNITS), weights), xs, states))
    signals = cell.watch(xs, states)[2]
    _equal(signals["i"] + signals["f"], torch.ones(TIME, ROWS, UNITS))


def test_a_peephole_lstm_is_onnx_s_lstm_with_p() -> None:
    cell, xs, states = _made(PeepholeLstm(INPUTS, UNITS))
    p_i, p_f, p_o = cell.p.detach().numpy()
    given = {**_lstm_for_onnx(cell, states), "P": np.concatenate([p_i, p_o, p_f])}
    y, *ends = _read_by_onnx("LSTM", xs, given)
    _check(cell, xs, states, y, ends)


def test_an_lstm_that_sees_the_whole_memory_is_the_peephole_lstm_where_it_sees_its_own_alone() -> None:
    peephole, xs, states = _made(PeepholeLstm(INPUTS, UNITS))
    whole = FullMemoryLstm(INPUTS, UNITS)
    diagonal = torch.cat([torch.diag(of_gate) for of_gate in peephole.p])
    whole.load_state_dict({"W": peephole.W, "R": peephole.R, "b": peephole.b, "P": diagonal})
    _check(whole, xs, states, *peephole.forward(xs, states))


def test_an_lstm_that_sees_the_whole_memory_is_its_equations_in_numpy() -> None:
    cell, xs, states = _made(FullMemoryLstm(INPUTS, UNITS))
    W, R, b, P = (getattr(cell, name).detach().numpy() for name in ("W", "R", "b", "P"))
    h, c = (state.numpy().T for state in states)
    outputs = []
    for x in xs.numpy():
        i, f, g, o = np.split(np.einsum("ui,ri->ur", W, x) + R @ h + b[:, None], 4)
        of_i, of_f, of_o = np.split(P, 3)
        c_new = _sigmoid(f + of_f @ c) * c + _sigmoid(i + of_i @ c) * np.tanh(g)
        h, c = _sigmoid(o + of_o @ c_new) * np.tanh(c_new), c_new
        outputs.append(h.T)
    _check(cell, xs, states, np.stack(outputs), [h.T, c.T])


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def test_a_gru_is_torch_s() -> None:
    cell, xs, states = _made(Gru(INPUTS, UNITS))
    second = torch.cat([torch.zeros(2 * UNITS), cell.b_m])
    weights = {"weight_ih_l0": cell.W, "weight_hh_l0": cell.R, "bias_ih_l0": cell.b, "bias_hh_l0": second}
    _check(cell, xs, states, *_read_by_torch(_torch(nn.GRU(INPUTS, UNITS), weights), xs, states))


@pytest.mark.parametrize("reset_after", [True, False])
def test_both_grus_are_onnx_s(reset_after: bool) -> None:
    cell, xs, states = _made(Gru(INPUTS, UNITS, reset_after))
    (r_b, z_b, n_b), zeros = cell.b.detach().numpy().reshape(3, UNITS), np.zeros(2 * UNITS)
    given = {name: _zrn(getattr(cell, name)) for name in ("W", "R")}
    given |= {"B": np.concatenate([z_b, r_b, n_b, zeros, cell.b_m.detach().numpy()]), "initial_h": states[0].numpy()}
    y, *ends = _read_by_onnx("GRU", xs, given, linear_before_reset=int(reset_after))
    _check(cell, xs, states, y, ends)


def _zrn(values: Tensor) -> Array:
    r, z, n = np.split(values.detach().numpy(), 3)
    return np.concatenate([z, r, n])


def test_a_layer_normalized_lstm_is_its_equations_with_torch_s_layer_norm() -> None:
    cell, xs, states = _made(LayerNormLstm(INPUTS, UNITS))
    h, c = states
    outputs = []
    normalize: Callable[..., Tensor] = nn.functional.layer_norm
    for x in xs:
        read = normalize(nn.functional.linear(x, cell.W), (4 * UNITS,), cell.a_x, None, EPSILON)
        past = normalize(nn.functional.linear(h, cell.R), (4 * UNITS,), cell.a_h, cell.b, EPSILON)
        i, f, g, o = torch.split(read + past, UNITS, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normalize(c, (UNITS,), cell.a_c, cell.s_c, EPSILON).tanh()
        outputs.append(h)
    _check(cell, xs, states, torch.stack(outputs), [h, c])


def test_a_bidirectional_lstm_is_torch_s() -> None:
    cell, xs, states = _made(BidirectionalLstm(INPUTS, UNITS))
    weights: dict[str, Tensor] = {}
    for direction, suffix in ((cell.ahead, ""), (cell.back, "_reverse")):
        names = [f"{name}_l0{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih")]
        weights |= dict(zip(names, (direction.W, direction.R, direction.b), strict=True))
    outputs, _ = _torch(nn.LSTM(INPUTS, UNITS, bidirectional=True), weights)(xs)
    _check(cell, xs, states, outputs, [])


def test_stacked_lstms_are_torch_s() -> None:
    stack = Stack([Lstm(INPUTS, UNITS), Lstm(UNITS, UNITS), Lstm(UNITS, UNITS)])
    _random(stack)
    weights: dict[str, Tensor] = {}
    for number, layer in enumerate(stack.layers):
        assert isinstance(layer, Lstm)
        names = [f"{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih")]
        weights |= dict(zip(names, (layer.W, layer.R, layer.b), strict=True))
    xs, states = torch.randn(TIME, ROWS, INPUTS), [tuple(torch.randn(2, ROWS, UNITS)) for _ in range(3)]
    h, c = (torch.stack([layer[place] for layer in states]) for place in (0, 1))
    outputs, (h_end, c_end) = _torch(nn.LSTM(INPUTS, UNITS, 3), weights)(xs, (h, c))
    found, after = stack(xs, states)
    _equal(found, outputs)
    for number, (h_found, c_found) in enumerate(after):
        _equal(h_found, h_end[number])
        _equal(c_found, c_end[number])
    watched, _, signals = stack.watch(xs, states)
    _equal(watched, outputs)
    assert [set(layer) for layer in signals] == [set("ifogch")] * 3


@pytest.mark.parametrize("name", CELLS)
def test_what_a_cell_says_of_its_states_and_signals_is_so(name: str) -> None:
    cell, xs, states = _made(make_cell(name, INPUTS, UNITS))
    outputs, after, signals = cell.watch(xs, states)
    assert outputs.shape == (TIME, ROWS, cell.outputs)
    assert len(after) == len(cell.states)
    assert tuple(signals) == cell.signals
    for letter, end in zip(cell.states, after, strict=True):
        _equal(signals[letter][-1], end)


def test_a_forget_gate_s_bias_starts_at_one_and_once() -> None:
    cell = Lstm(INPUTS, UNITS)
    assert cell.b.reshape(4, UNITS).tolist() == [[0.0] * UNITS, [1.0] * UNITS, [0.0] * UNITS, [0.0] * UNITS]


def test_a_bidirectional_layer_has_no_single_steps() -> None:
    cell, xs, states = _made(BidirectionalLstm(INPUTS, UNITS))
    with pytest.raises(TrainingError, match="reads whole sequences"):
        cell.step(xs[0], states)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_cell("lstn", 3, 4), "there is no cell 'lstn'; there are feed-forward, rnn"),
        (lambda: make_cell("lstm", 3, 0), "at least 1 of units"),
        (lambda: make_cell("gru", 0, 3), "at least 1 of inputs"),
        (lambda: Stack([Lstm(3, 4), Lstm(5, 4)]), "layer 1 reads 5 numbers, but layer 0 gives 4"),
        (lambda: Stack([]), "at least one layer"),
    ],
)
def test_impossible_layers_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make()
