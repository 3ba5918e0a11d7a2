"""Training of the lab's small networks: Adam, a rate that falls to nothing, gradients clipped by their norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model_export.errors import TrainingError
from model_export.lab.bench import Bench
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import IGNORED, Batch


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast. clip: the largest norm of the gradients; None leaves them as they are.

    quiet: the price of mean |h| of the top layer, added to the loss. With a price on showing, fewer units show at a
    time and more of them stand for one thing; without, several share most things.
    """

    steps: int
    rate: float = 0.01
    clip: float | None = 1.0
    quiet: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or (self.clip is not None and not self.clip > 0):
            raise TrainingError(f"a training needs steps, a rate and a clip above 0, not {self}")


def loss_of(network: Network, batch: Batch, quiet: float = 0.0) -> Tensor:
    """Mean cross-entropy of the targets, in nats, and the price of what the top layer shows."""
    shown, _ = network.stack(network.embedding(batch.inputs), network.initial(batch.inputs.shape[1]))
    scores = network.head(shown)
    loss = functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    return loss + quiet * shown.abs().mean() if quiet else loss


def fit(
    network: Network,
    draw: Callable[[int], Batch],
    recipe: Recipe,
    bench: Bench,
    what: str,
    *,
    after_step: Callable[[], None] | None = None,
    stop: Callable[[], bool] | None = None,
    loss: Callable[[Batch], Tensor] | None = None,
) -> float:
    """Train on the batch that `draw` gives for each step; returns the mean loss of the last tenth.

    after_step: what is done to the weights after each step, such as keeping them within bounds.  stop: asked after each
    step whether that is enough.  loss: what is made less, in place of the cross-entropy of sequences from their
    beginnings.

    Raises TrainingError if the loss is no number any more.
    """
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=recipe.rate)
    last: list[float] = []
    network.train()
    with bench.bar(what, recipe.steps) as bar:
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            batch = draw(step)
            missed = loss_of(network, batch, recipe.quiet) if loss is None else loss(batch)
            optimizer.zero_grad(set_to_none=True)
            missed.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
            if recipe.clip is not None:
                torch.nn.utils.clip_grad_norm_(weights, recipe.clip)
            optimizer.step()
            if after_step is not None:
                after_step()
            value = float(missed.item())
            if not math.isfinite(value):
                raise TrainingError(f"{what}: the loss is {value} at step {step}; a lower rate may help")
            if step >= 0.9 * recipe.steps:
                last.append(value)
            bar.advance(f"loss {value:.4f}")
            if stop is not None and stop():
                break
    network.eval()
    return sum(last) / len(last) if last else value


def new_network(config: NetworkConfig, seed: int) -> Network:
    """A network whose first weights this seed decides."""
    torch.manual_seed(seed)
    return Network(config)


@torch.no_grad()
def right_share(network: Network, batch: Batch) -> float:
    """The share of targets that are the likeliest symbol."""
    right = (network.scores(batch.inputs).argmax(dim=-1) == batch.targets) & batch.counted
    return float(right.sum() / batch.counted.sum())


def best_of(config: NetworkConfig, train: Callable[[Network, int], float], seed: int, *, attempts: int) -> Network:
    """The network with the least training loss of several that began from other weights.

    Chosen by what it was trained on alone: never by whether a claim comes out.
    """
    made = []
    for attempt in range(attempts):
        own_seed = 100 * seed + attempt
        network = new_network(config, own_seed)
        made.append((train(network, own_seed), own_seed, network))
    return min(made, key=lambda one: one[:2])[2]
