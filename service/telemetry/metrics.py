"""The Prometheus metrics of one process, in a registry of their own; base units, names starting with `carousel_`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from service.engine.observer import Lookup
from service.engine.requests import ModelIdentity

# A keystroke takes tens of microseconds to a few milliseconds; a shed or overloaded one, up to seconds.
_LATENCIES_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 5.0, 10.0)
_STEPS_S = (0.00005, 0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1, 0.5, 1.0)
_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


_MODEL = ("model",)


class Waited(Protocol):
    """Something that requests wait for."""

    @property
    def waiting(self) -> int:
        """How many; read on the metrics thread."""


class Metrics:
    """Every metric of the server. Observers below write to it; `registry` is what is scraped."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; a third of all lines, and nobody reads them
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = self._counter("carousel_requests", "Requests answered.", ("facade", "operation", "code"))
        self.request_duration = Histogram(
            "carousel_request_duration_seconds",
            "Time until a request was answered, or an edit of a stream acknowledged.",
            ("facade", "operation"),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self.step_duration = Histogram(
            "carousel_step_duration_seconds",
            "Time of one run of the model over a batch.",
            _MODEL,
            buckets=_STEPS_S,
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "carousel_batch_rows", "Rows in a batch.", _MODEL, buckets=_ROWS, registry=self.registry
        )
        self.queue_depth = Gauge("carousel_queue_depth", "Requests inside the engine.", _MODEL, registry=self.registry)
        self.sessions = Gauge("carousel_sessions", "Sessions that are held.", registry=self.registry)
        self.model_steps = self._counter("carousel_model_steps", "Tokens fed to the model.", _MODEL)
        self.tree_lookups = self._counter(
            "carousel_tree_lookups", "Wanted nodes of the state tree, by whether they were held.", ("model", "result")
        )
        self.moved_bytes = self._counter(
            "carousel_moved_bytes",
            "Bytes by which texts moved forward, typed or accepted, by whether their states were held.",
            ("model", "result"),
        )
        self.state_bytes = Gauge(
            "carousel_state_bytes", "Bytes of the state budget in use.", _MODEL, registry=self.registry
        )
        self.model_failures = self._counter("carousel_model_failures", "Batches that the model could not run.", _MODEL)
        self.store_duration = Histogram(
            "carousel_store_duration_seconds",
            "Time of one operation of the session store.",
            ("op",),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self.model_loads = self._counter(
            "carousel_model_loads", "Loads of a new version of a model while the server runs.", ("model", "result")
        )
        self.model_paths = Gauge(
            "carousel_model_paths",
            "Sessions, and long prompts, whose place a version of a model holds.",
            ("model", "digest"),
            registry=self.registry,
        )
        self.held_by_version: dict[str, dict[EngineMetrics, int]] = {}
        self.model_info = Gauge(
            "carousel_model_info",
            "1 for each version of a model that is loaded.",
            ("name", "digest", "numerics_id"),
            registry=self.registry,
        )

        self.api_keys_current = Gauge(
            "carousel_api_keys_current",
            "0 while the file of API keys cannot be used and the keys of before hold; else 1.",
            registry=self.registry,
        )
        self.api_keys_current.set(1)

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def serves(self, identity: ModelIdentity) -> None:
        """Show a model."""
        self.model_info.labels(identity.name, identity.digest, identity.numerics_id).set(1)

    def unloaded(self, identity: ModelIdentity) -> None:
        """Show a model no longer."""
        self.model_info.remove(identity.name, identity.digest, identity.numerics_id)

    def read_sessions_on_scrape(self, held: Callable[[], int]) -> None:
        """Read the sessions from their owner at every scrape, on the metrics thread.

        A value that is set when something happens would stand still, and be wrong, when nothing does.
        """
        self.sessions.set_function(held)

    def read_keys_on_scrape(self, are_current: Callable[[], bool]) -> None:
        """The same for the file of API keys."""
        self.api_keys_current.set_function(are_current)

    def read_waiting_on_scrape(self, model: str, engine: Waited) -> None:
        """The same for the queue of a model's engine."""
        self.queue_depth.labels(model).set_function(lambda: engine.waiting)


class EngineMetrics:
    """The observer of one version of a model, whose versions are counted together.

    Called on the engine's thread, never raises, costs microseconds a tick.
    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._steps = metrics.step_duration.labels(model)
        self._rows = metrics.batch_rows.labels(model)
        self._fed = metrics.model_steps.labels(model)
        self._states = metrics.state_bytes.labels(model)
        self._failures = metrics.model_failures.labels(model)
        self._lookups = {result: metrics.tree_lookups.labels(model, result) for result in get_args(Lookup)}
        self._moved = {result: metrics.moved_bytes.labels(model, result) for result in get_args(Lookup)}
        self._held = metrics.held_by_version.setdefault(model, {})
        self._model, self._log = model, logging.getLogger("carousel.engine")

    def tick(self, *, rows: int, tokens: int, seconds: float, waiting: int) -> None:
        """Count a batch."""
        self._steps.observe(seconds)
        self._rows.observe(rows)
        self._fed.inc(tokens)

    def lookups(self, result: Lookup, count: int) -> None:
        """Count wanted nodes."""
        self._lookups[result].inc(count)

    def moved(self, *, held: int, computed: int) -> None:
        """Count bytes of text that needed no model step before their state was there, and those that did."""
        self._moved["held"].inc(held)
        self._moved["computed"].inc(computed)

    def state_bytes(self, held: int) -> None:
        """Show the state budget's use."""
        if held:
            self._held[self] = held
        else:
            self._held.pop(self, None)  # also when the version is gone
        self._states.set(sum(self._held.values()))

    def failed(self, error: Exception) -> None:
        """Count and log a batch that could not be run."""
        self._failures.inc()
        self._log.error("the model could not be run", exc_info=error, extra={"model": self._model})


class RequestMetrics:
    """The facades' observer: counts and times every request on the event loop's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Every keystroke counts here, and finding a metric's child by its labels costs more than counting.
        self._children: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def request(self, facade: str, operation: str, code: str, seconds: float) -> None:
        """Count one request or one edit of a stream."""
        children = self._children.get((facade, operation, code))
        if children is None:
            requests = self._metrics.requests.labels(facade, operation, code)
            children = requests, self._metrics.request_duration.labels(facade, operation)
            self._children[facade, operation, code] = children
        requests, duration = children
        requests.inc()
        duration.observe(seconds)


class StoreMetrics:
    """The store's observer: times every operation."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._children: dict[str, Histogram] = {}

    def stored(self, operation: str, seconds: float) -> None:
        """Time one operation."""
        child = self._children.get(operation)
        if child is None:
            child = self._children[operation] = self._metrics.store_duration.labels(operation)
        child.observe(seconds)
