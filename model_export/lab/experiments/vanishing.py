"""Vanishing and exploding gradients: how much of an input 200 steps ago is still felt (Hochreiter 1991).

The gradient of an output by an earlier input is a product with one factor a step. In a simple RNN the factors are the
recurrent matrix and the slope of tanh; along the memory of an LSTM they are the forget gates. An LSTM's gradient has
a second way, through h, of which all its gates are made: that one may grow where the memory's stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.cells.cell import Cell
from model_export.cells.elman import Elman
from model_export.cells.lstm import Lstm
from model_export.cells.lstm_1997 import Lstm1997
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture
from model_export.lab.gradients import gradient_norms, memory_path
from service.model.checked import Between, Checked

_INPUTS, _ROWS = 8, 8
_STRETCH = 1.2  # of the recurrent matrix that explodes: the identity, this much larger, with ReLU
_OPEN = 5.0  # a forget bias: sigmoid(5) = 0.993
_TRAINING = 60  # steps with and without clipping
_SGD_RATE = 0.05
_CLIP = 1.0
_ASTRAY = 1e9  # stands for a loss that is no number any more
_SHORTER = 100  # steps back, in the training with and without clipping
_TENTH = 10  # losses at either end of that training, whose mean is taken
CAROUSEL_CELL, TOO_LARGE = "LSTM of 1997", "ReLU RNN, weights too large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """back: how many steps a gradient goes back."""

    back: Annotated[int, Between(20, 2_000)] = 200
    units: Annotated[int, Between(2, 256)] = 32

    @property
    def near(self) -> int:
        """Steps back where RNN and LSTM are compared: there the RNN's gradient is small, and not lost in rounding."""
        return min(50, self.back)


VANISHES = Claim(
    "rnn_vanishes",
    "In a simple RNN, nothing is left of the gradient after {back} steps.",
    "log10 of |dL/dx| {back} steps back, over that at the last step",
    -6,
    sense="at most",
    digits=1,
)
OUTLASTS = Claim(
    "lstm_outlasts_rnn",
    "An LSTM with the usual forget bias of 1 keeps more of it.",
    "log10 of |dL/dx| {near} steps back, the LSTM's less the RNN's, each over that at its last step",
    3,
    digits=1,
)
STILL = Claim(
    "lstm_vanishes_too",
    "But its gradient vanishes, too: a gate that is 0.73 open leaves little after {back} steps.",
    "log10 of |dL/dx| {back} steps back, over that at the last step",
    -6,
    sense="at most",
    digits=1,
)
CAROUSEL_ALONE = Claim(
    "carousel_alone",
    "Where nothing is forgotten, as in the LSTM of 1997, the gradient along the memory goes round and round unchanged: "
    "the constant error carousel.",
    "log10 of |dL/dc| {back} steps back over that at the last step, all gates held as they are; its size",
    1e-6,
    sense="at most",
    digits=6,
)
CAROUSEL = Claim(
    "carousel_keeps",
    "So the whole gradient of that LSTM neither vanishes nor explodes.",
    "log10 of |dL/dx| {back} steps back over that at the last step; its size",
    1,
    sense="at most",
    digits=1,
)
OPEN = Claim(
    "open_gates_keep",
    "Forget gates that start open (bias 5) do nearly as well.",
    "log10 of |dL/dx| {back} steps back, over that at the last step",
    -2,
    digits=1,
)
EXPLODES = Claim(
    "explodes",
    "With recurrent weights a fifth too large, the gradient explodes instead.",
    "log10 of |dL/dx| {back} steps back, over that at the last step",
    6,
    digits=1,
)
UNCLIPPED = Claim(
    "unclipped_diverges",
    "Training such a network without clipping goes astray.",
    "largest loss of 60 steps over the first one; infinite or no number counts as 1e9",
    10,
    digits=1,
)
CLIPPED = Claim(
    "clipped_trains",
    "With gradients clipped at norm 1 the same training goes down.",
    "mean of the last ten losses over that of the first ten",
    0.5,
    sense="at most",
    digits=3,
)


def cells(units: int, seed: int) -> dict[str, Cell]:
    """The layers that are compared, all from one seed."""
    torch.manual_seed(seed)
    return {
        "RNN": Elman(_INPUTS, units),
        "LSTM, forget bias 1": Lstm(_INPUTS, units),
        "LSTM, forget bias 5": Lstm(_INPUTS, units, forget_bias=_OPEN),
        CAROUSEL_CELL: Lstm1997(_INPUTS, units),
        TOO_LARGE: stretched(units),
    }


def stretched(units: int) -> Elman:
    """A ReLU network whose recurrent matrix is the identity, a fifth too large: what is active grows at each step."""
    cell = Elman(_INPUTS, units, "relu")
    with torch.no_grad():
        cell.R.copy_(_STRETCH * torch.eye(units))
        cell.W.abs_()
    return cell


def train_stretched(units: int, seed: int, clip: float | None) -> list[float]:
    """The losses of plain gradient descent on the mean of 100 inputs, from the network that explodes."""
    torch.manual_seed(seed)
    cell, head = stretched(units), nn.Linear(units, 1)
    weights = [*cell.parameters(), *head.parameters()]
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for _ in range(_TRAINING):
        xs = torch.rand(_SHORTER, _ROWS, _INPUTS, generator=generator)
        outputs, _ = cell(xs, cell.initial(_ROWS))
        loss = nn.functional.l1_loss(head(outputs[-1]), xs.mean(dim=(0, 2))[:, None])
        losses.append(float(loss.item()))
        if not np.isfinite(losses[-1]):
            break
        gradients = torch.autograd.grad(loss, weights)
        size = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type]  # sum starts from 0
        scale = 1.0 if clip is None or size <= clip else clip / size
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(_SGD_RATE * scale * gradient)
    return losses


def missed_by_a_half(seed: int) -> float:
    """The loss of always saying a half, which is what the inputs are on average, on the batches of that training."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.rand(_SHORTER, _ROWS, _INPUTS, generator=generator).mean(dim=(0, 2)) for _ in range(_TRAINING)]
    return float((torch.stack(drawn) - 0.5).abs().mean())


def carousel_alone(settings: Settings, seed: int, xs: Tensor) -> float:
    """log10 of |dL/dc| that many steps back, over that at the last step, along the memory alone."""
    cell = cells(settings.units, seed)[CAROUSEL_CELL]
    path = memory_path(cell, xs, lambda h: h.sum())
    return float(np.log10(path.alone[0] / path.alone[-1]))


def largest_growth(losses: list[float]) -> float:
    """The largest loss over the first; 1e9 where it is no number any more."""
    growth = np.array(losses) / losses[0]
    return float(np.nan_to_num(growth, nan=_ASTRAY, posinf=_ASTRAY).max())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims: new networks, one backward pass each, and one short training with and without clipping."""
    made = cells(settings.units, bench.seed)
    xs = torch.randn(settings.back + 1, _ROWS, _INPUTS, generator=torch.Generator().manual_seed(bench.seed))
    norms = {name: gradient_norms(cell, xs, bench.seed)[::-1] for name, cell in made.items()}

    def left(name: str, back: int) -> float:
        return float(np.log10(max(norms[name][back] / norms[name][0], 1e-300)))

    back, near = settings.back, settings.near
    alone = carousel_alone(settings, bench.seed, xs)
    clipped, unclipped = (train_stretched(settings.units, bench.seed, clip) for clip in (_CLIP, None))
    verdicts = (
        VANISHES.verdict(left("RNN", back)),
        OUTLASTS.verdict(left("LSTM, forget bias 1", near) - left("RNN", near)),
        STILL.verdict(left("LSTM, forget bias 1", back)),
        CAROUSEL_ALONE.verdict(abs(alone), "the gates taken as numbers"),
        CAROUSEL.verdict(abs(left(CAROUSEL_CELL, back)), f"it {'grows' if left(CAROUSEL_CELL, back) > 0 else 'falls'}"),
        OPEN.verdict(left("LSTM, forget bias 5", back)),
        EXPLODES.verdict(left(TOO_LARGE, back)),
        UNCLIPPED.verdict(largest_growth(unclipped), f"{len(unclipped)} steps"),
        CLIPPED.verdict(
            float(np.mean(clipped[-_TENTH:]) / np.mean(clipped[:_TENTH])),
            f"from {np.mean(clipped[:_TENTH]):.2g} to {np.mean(clipped[-_TENTH:]):.2g}; who always says a half misses "
            f"by {missed_by_a_half(bench.seed):.2g}",
        ),
    )
    made_pictures = (
        Picture("gradients", _draw_norms(norms), _NORMS_CAPTION),
        Picture("clipping", _draw_losses(clipped, unclipped), _CLIPPING_CAPTION),
    )
    details: dict[str, Any] = {"log10_left": {name: left(name, back) for name in norms}}
    return Finding(verdicts, made_pictures, _STORY, details)


_STORY = (
    "A network learns by asking how an output would change if something earlier had been a little different. The "
    "answer is "
    "a product with one factor for each step in between. Factors below one make it vanish, and what lies far back"
    " cannot be "
    "learned; factors above one make it explode, and one step of training destroys what was learned.",
    "Along the memory of an LSTM the factors are the forget gates. If they are one, the gradient stays as it is at any "
    "distance. That loop is the constant error carousel, after which this project is named. It is not the only way "
    "back: the gates are made of what was shown a step before, and by that way the gradient may grow.",
)
_NORMS_CAPTION = (
    "How much an input matters for the output, by how long ago it was read. New networks, the mean of eight texts."
)
_CLIPPING_CAPTION = "The same training of the network that explodes, with gradients clipped at norm 1 and without."


def _draw_norms(norms: Mapping[str, NDArray[np.float64]]) -> Figure:
    figure, axes = pictures.new_figure(width=10, height=4.6)
    for name, values in norms.items():
        axes[0].semilogy(np.maximum(values / values[0], 1e-60), label=name)
    axes[0].set(title="gradient by an earlier input, over that by the last", xlabel="steps back", ylabel="|dL/dx|")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_losses(clipped: list[float], unclipped: list[float]) -> Figure:
    figure, axes = pictures.new_figure(width=8, height=3.8)
    for losses, name in ((clipped, "clipped at 1"), (unclipped, "not clipped")):
        axes[0].semilogy(np.nan_to_num(losses, nan=1e38, posinf=1e38), label=name, marker=".")
    axes[0].set(title="training a network that explodes", xlabel="step", ylabel="loss")
    axes[0].legend()
    return figure


EXPERIMENT = Experiment(
    name="vanishing",
    title="Vanishing and exploding gradients",
    question="Why could simple networks not learn from what was long ago, and what does an LSTM change?",
    source="Hochreiter (1991); Bengio, Simard & Frasconi (1994); Pascanu, Mikolov & Bengio (2013) for clipping.",
    settings=Settings(),
    claims=(VANISHES, OUTLASTS, STILL, CAROUSEL_ALONE, CAROUSEL, OPEN, EXPLODES, UNCLIPPED, CLIPPED),
    run=run,
)
