"""What is told of versions of a model: each while it is there, and all of them together."""

from __future__ import annotations

from functools import partial

import pytest

from service.engine.requests import ModelIdentity
from service.telemetry.metrics import EngineMetrics, Metrics
from service.telemetry.version_metrics import VersionMetrics


class Shown:
    """A version as metrics see it."""

    def __init__(self, digest: str) -> None:
        self.identity, self.path_count = ModelIdentity("python", digest, "numerics"), 3


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_versions_of_a_model_are_counted_together_and_those_that_are_gone_no_longer(metrics: Metrics) -> None:
    one, other = EngineMetrics(metrics, "python"), VersionMetrics(metrics).engine_of("python")
    held = partial(metrics.registry.get_sample_value, "carousel_state_bytes", {"model": "python"})
    one.state_bytes(100)
    other.state_bytes(20)
    assert held() == 120
    one.state_bytes(0)
    assert held() == 20


def test_a_version_is_shown_while_it_is_there(metrics: Metrics) -> None:
    told, version = VersionMetrics(metrics), Shown("d1")
    places = partial(metrics.registry.get_sample_value, "carousel_model_paths", {"model": "python", "digest": "d1"})
    info = {"name": "python", "digest": "d1", "numerics_id": "numerics"}
    told.loaded(version)
    version.path_count = 4
    assert (places(), metrics.registry.get_sample_value("carousel_model_info", info)) == (4, 1)
    told.unloaded(version)
    assert (places(), metrics.registry.get_sample_value("carousel_model_info", info)) == (None, None)


def test_loads_are_counted_from_none(metrics: Metrics) -> None:
    told = VersionMetrics(metrics)

    def count(result: str) -> float | None:
        return metrics.registry.get_sample_value("carousel_model_loads_total", {"model": "python", "result": result})

    told.loaded(Shown("d1"))
    assert (count("failed"), count("loaded")) == (0, 0)
    told.load_ended("python", failed=True)
    told.load_ended("python", failed=False)
    told.load_ended("python", failed=True)
    assert (count("failed"), count("loaded")) == (2, 1)
