"""What is measured of models that read no text: who they are, and the states of sequences that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Gauge

from service.engine.requests import ModelIdentity
from service.telemetry.metrics import Metrics


def show_tensors(
    metrics: Metrics, models: Iterable[ModelIdentity], held: Callable[[], int], state_bytes: Callable[[], int]
) -> None:
    """Show the models, and read the rest from its owner at every scrape, on the metrics thread."""
    for identity in models:
        metrics.serves(identity)
    sequences = Gauge(
        "carousel_tensor_sequences",
        "Sequences of models of numbers and words whose state is in memory.",
        registry=metrics.registry,
    )
    sequences.set_function(held)
    bytes_ = Gauge(
        "carousel_tensor_state_bytes", "Bytes that these states take, of their budget.", registry=metrics.registry
    )
    bytes_.set_function(state_bytes)
