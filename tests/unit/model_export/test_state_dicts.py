"""Weights found in a PyTorch state dict, whatever its modules are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_export import state_dicts
from model_export.errors import ExportError


class _Elsewhere(nn.Module):
    """A language model as someone else would write it."""

    def __init__(self, *, tied: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Embedding(256, 12 if tied else 6)
        self.rnn = nn.LSTM(12 if tied else 6, 12, 2, bias=bias)
        self.decoder = nn.Linear(12, 256)
        if tied:
            self.decoder.weight = self.encoder.weight


def _state(**options: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(_Elsewhere(**options).state_dict())


def test_a_model_with_other_names_is_found_and_both_bias_vectors_are_added() -> None:
    state = _state()
    weights = state_dicts.find(state).weights()
    both = (state["rnn.bias_ih_l1"] + state["rnn.bias_hh_l1"]).numpy()
    i, f, g, o = np.split(both, 4)
    assert np.array_equal(weights.layers[1].bias, np.concatenate([i, o, f, g]))
    assert np.array_equal(weights.head, state["decoder.weight"].numpy())
    assert weights.architecture()["layers"] == 2 and not weights.tied


@pytest.mark.parametrize("saved_once", [False, True])
def test_a_tied_head_is_found_whether_it_was_saved_or_not(saved_once: bool) -> None:
    state = _state(tied=True)
    if saved_once:
        del state["decoder.weight"]
    weights = state_dicts.find(state).weights()
    assert weights.tied
    assert np.array_equal(weights.head_bias, state["decoder.bias"].numpy())


def test_an_lstm_without_biases_has_zero_biases() -> None:
    assert not state_dicts.find(_state(bias=False)).weights().layers[0].bias.any()


def test_prefixes_and_wrappers_around_a_state_dict_do_not_matter(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in _state().items()}
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    found = state_dicts.find(state_dicts.read_file(tmp_path / "w.pt"))
    assert len(found.layers) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda s: {n: v for n, v in s.items() if not n.startswith("rnn.")}, "no LSTM found"),
        (lambda s: {n: v for n, v in s.items() if n != "rnn.weight_hh_l1"}, "layer 1 has no weight_hh"),
        (lambda s: {n: v for n, v in s.items() if not n.startswith("encoder")}, "no single embedding"),
        (lambda s: {n: v for n, v in s.items() if not n.startswith("decoder")}, "no single head"),
        (lambda s: s | {"rnn.weight_ih_l0_reverse": s["rnn.weight_ih_l0"]}, "bidirectional"),
        (lambda s: s | {"rnn.weight_hr_l0": torch.zeros(3, 12)}, "projected"),
        (lambda s: s | {"rnn2.weight_ih_l0": s["rnn.weight_ih_l0"]}, "more than one LSTM"),
        (lambda s: s | {"rnn.weight_hh_l0": torch.zeros(36, 12)}, "LSTM's has 4 x units rows"),
    ],
)
def test_what_is_no_lstm_language_model_is_refused(broken: object, message: str) -> None:
    assert callable(broken)
    with pytest.raises(ExportError, match=message):
        state_dicts.find(broken(_state()))


def test_a_missing_part_is_reported_with_everything_that_was_found() -> None:
    state = _state()
    del state["encoder.weight"]
    with pytest.raises(ExportError, match=r"Found: rnn\.weight_ih_l0 \[48, 6\], .*decoder\.weight \[256, 12\]"):
        state_dicts.find(state)


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name, message in (
        ("list.pt", "no state dict"),
        ("text.pt", "not a file of tensors"),
        ("no.pt", "cannot be read"),
    ):
        with pytest.raises(ExportError, match=message):
            state_dicts.read_file(tmp_path / name)
