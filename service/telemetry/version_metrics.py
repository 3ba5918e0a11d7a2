"""What is counted of versions of models that come and go."""

from __future__ import annotations

from typing import Protocol

from service.engine.requests import ModelIdentity
from service.telemetry.metrics import EngineMetrics, Metrics

_RESULTS = ("loaded", "failed")


class ShownVersion(Protocol):
    """A version of a model."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, digest, numerics."""

    @property
    def path_count(self) -> int:
        """How many sessions and long prompts it holds the places of; read on the metrics thread."""


class VersionMetrics:
    """Observes a rollout, on its thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def engine_of(self, model: str) -> EngineMetrics:
        """For the engine of one more version."""
        return EngineMetrics(self._metrics, model)

    def loaded(self, version: ShownVersion) -> None:
        """Show it from now on."""
        identity = version.identity
        self._metrics.serves(identity)
        shown = self._metrics.model_paths.labels(identity.name, identity.digest)
        shown.set_function(lambda: version.path_count)
        for result in _RESULTS:  # counted from 0, or nobody would see the first one happen
            self._metrics.model_loads.labels(identity.name, result)

    def unloaded(self, version: ShownVersion) -> None:
        """Show it no longer."""
        self._metrics.unloaded(version.identity)
        self._metrics.model_paths.remove(version.identity.name, version.identity.digest)

    def load_ended(self, model: str, *, failed: bool) -> None:
        """Count it."""
        self._metrics.model_loads.labels(model, _RESULTS[failed]).inc()
