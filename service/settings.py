"""Every setting of the server, read once: flag, then CAROUSEL_* environment variable, then file, then default.

Nothing else reads the environment. Each component gets its own small frozen config from here, never all the settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from service.setting_kinds import (
    SHARED_STORES,
    Kind,
    duration,
    file,
    folders,
    one_of,
    origins,
    seconds,
    size,
    store,
    switch,
    text,
    whole,
)

ENVIRONMENT_PREFIX = "CAROUSEL_"
_SHIPPED_MODEL = Path("models") / "python"

_PORT = whole(0, 65535)

T = TypeVar("T")


def shipped_model() -> Path:
    """The model folder that comes with Carousel: `models/python` of this checkout, or else of the working folder."""
    shipped = Path(__file__).resolve().parent.parent / _SHIPPED_MODEL
    return shipped if shipped.is_dir() else _SHIPPED_MODEL


def model_folder(named: Path) -> Path:
    """The folder, or if there is none the model that comes with Carousel: `lab/counting` is `models/lab/counting`."""
    shipped = shipped_model().parent / named
    return shipped if not named.is_dir() and shipped.is_dir() else named


class SettingsError(Exception):
    """A setting that cannot be used; the message names it as the operator wrote it and says what is accepted."""


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the three ports listen; port 0 lets the system choose."""

    host: str
    grpc_port: int
    http_port: int
    metrics_port: int


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """What both facades need to know of a request: its largest size, whom to believe, which browsers may call.

    api_keys_file: of the keys that are asked for; None if none are.  max_stream_age_s: after which streams end.
    """

    max_request_bytes: int
    trust_tenant_header: bool
    allowed_origins: tuple[str, ...]
    host: str
    api_keys_file: Path | None
    max_stream_age_s: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which graph of which folder to load, how many threads a step may use, and whether its rows may touch."""

    folder: Path
    precision: Literal["fp32", "int8"] | None
    threads: int
    allow_batch_dependent: bool


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """When new versions of models are looked for, who may ask for them, and when sessions go over to them.

    watch_s: None if the folders are not looked at again.  admin: the tenant that may ask; None if nobody may.
    """

    watch_s: float | None = None
    admin: str | None = None
    idle_s: float = 30.0
    within_s: float = 600.0


@dataclass(frozen=True, slots=True)
class CapacityConfig:
    """How much the process holds before it refuses more."""

    max_edit_bytes: int
    max_session_bytes: int
    max_sessions: int
    state_budget_bytes: int
    max_batch_rows: int
    max_queued: int
    max_replays: int
    look_ahead: int


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where sessions are kept, when an edit is acknowledged, for how long and how much of a tenant's.

    kind: what the rest is for.  path: of sqlite.  url: of valkey.  password: instead of the one in the URL, if any.
    """

    kind: Literal["memory", "sqlite", "valkey"]
    path: Path | None = None
    url: str | None = None
    password: str | None = None
    acknowledge: Literal["store", "fsync", "memory"] = "store"
    retention_s: float | None = None
    sessions_per_tenant: int | None = None
    bytes_per_tenant: int | None = None
    max_sessions: int = 10_000
    snapshots: bool = True

    @property
    def described(self) -> str:
        """As it may be shown to anybody: without a password."""
        if self.url is None:
            return f"{self.kind}:{self.path or ''}"
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much to log and in which shape; `auto` is readable on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "json", "console"]


def _shipped() -> tuple[Path, ...]:
    return (shipped_model(),)


def _state_file() -> str:
    """The session file of whoever starts a server: in the XDG state folder (specifications.freedesktop.org/basedir)."""
    folder = os.environ.get("XDG_STATE_HOME", "")
    if not Path(folder).is_absolute():
        folder = str(Path("~/.local/state").expanduser() if os.environ.get("HOME") else "")
    if not folder:
        raise SettingsError(
            f"{_spellings('store')}: no home folder for a session file; give sqlite:PATH, or memory: to keep none"
        )
    return f"sqlite:{Path(folder) / 'carousel' / 'sessions.sqlite'}"


@dataclass(frozen=True, slots=True)
class About:
    """What the command line and the documentation say of a setting.

    made: in words, a default that is made at start, instead of `default`; None if it is not made.
    """

    kind: Kind[Any]
    description: str
    default: Any
    made: str | None


def _setting(kind: Kind[T], description: str, default: T) -> T:
    made: T = field(default=default, metadata={"kind": kind, "description": description})
    return made


def _computed(kind: Kind[T], description: str, words: str, default: Callable[[], T]) -> T:
    metadata = {"kind": kind, "description": description, "made": words}
    made: T = field(default_factory=default, metadata=metadata)
    return made


def _optional(kind: Kind[T], description: str) -> T | None:
    return field(default=None, metadata={"kind": kind, "description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may set. Every field is a flag of `carousel serve` and a CAROUSEL_* variable."""

    host: str = _setting(text(), "Address that all ports listen on.", "127.0.0.1")
    grpc_port: int = _setting(_PORT, "Port of gRPC; 0 lets the system choose.", 50051)
    http_port: int = _setting(_PORT, "Port of REST and its documentation; 0 lets the system choose.", 8000)
    metrics_port: int = _setting(_PORT, "Port of the Prometheus metrics; 0 lets the system choose.", 9464)
    model: tuple[Path, ...] = _computed(
        folders(),
        "The model folder to serve, or several, with commas between them or a flag each; the first is the default.",
        "the shipped model",
        _shipped,
    )
    precision: Literal["fp32", "int8"] | None = _optional(
        one_of("fp32", "int8"), "Which graph of the folder to serve; int8 where there is one by default."
    )
    threads: int = _setting(whole(1, 64), "Threads of one model step.", 1)
    allow_batch_dependent: bool = _setting(
        switch(), "Serve a graph whose rows depend on each other: what one types changes what another is shown.", False
    )
    watch_models: float | None = _optional(
        duration(), "How often the model folders are looked at for a new version; never if not set."
    )
    model_admin: str | None = _optional(
        text(), "Tenant whose callers may load and unload versions of models (POST /v2/repository); nobody if not set."
    )
    rollout_idle: float = _setting(
        duration(), "A session that nobody asks for so long goes over to the new version of its model.", 30.0
    )
    rollout_within: float = _setting(
        duration(), "After so long every session does, and the old version of the model is unloaded.", 600.0
    )
    store: str = _computed(
        store(),
        "Where sessions are kept: memory:, sqlite:PATH, or valkey://HOST:PORT/DB, which replicas may share.",
        "a file in the XDG state folder",
        _state_file,
    )
    store_password_file: Path | None = _optional(
        file(), "File of the password for valkey://, instead of one in the URL."
    )
    acknowledge: Literal["store", "fsync", "memory"] = _setting(
        one_of("store", "fsync", "memory"),
        "What an acknowledged edit survives: store: a killed process; fsync: lost power; memory: neither.",
        "store",
    )
    retention: float | None = _optional(
        duration(), "How long a session is kept after its last edit; for ever if not set."
    )
    snapshots: bool = _setting(
        switch(), "Keep states beside texts in the store, so that who takes a session over need not replay it.", True
    )
    max_tenant_sessions: int | None = _optional(whole(1), "Most sessions that a tenant keeps.")
    max_tenant_bytes: int | None = _optional(size(), "Most bytes of text that a tenant keeps in its sessions.")
    api_keys_file: Path | None = _optional(
        file(), "File of API keys, a line `TENANT KEY` for each; without one nobody is asked for a key."
    )
    trust_tenant_header: bool = _setting(
        switch(), "Believe x-carousel-tenant; only behind a gateway that has authenticated the caller.", False
    )
    allowed_origins: tuple[str, ...] = _setting(
        origins(), "Web origins that may call over HTTP and WebSockets, separated by commas.", ()
    )
    max_edit_bytes: int = _setting(size(), "Largest edit, in bytes of UTF-8.", 64 * 1024)
    max_session_bytes: int = _setting(size(), "Largest text of a session, in bytes of UTF-8.", 1024 * 1024)
    max_request_bytes: int = _setting(size(), "Largest request, in bytes.", 1024 * 1024)
    max_sessions: int = _setting(whole(1), "Most sessions that are held; others are parked in the store.", 10_000)
    state_budget: int = _setting(size(), "Memory for states, in bytes or as 256MiB.", 256 << 20)
    max_batch_rows: int = _setting(whole(1, 1024), "Most rows that one model step takes.", 64)
    max_queued: int = _setting(whole(1), "Most requests that wait for the engine.", 4096)
    max_replays: int = _setting(
        whole(1), "Most long texts that are read anew at a time, as after a failover; others wait their turn.", 8
    )
    look_ahead: int = _setting(
        whole(0, 16),
        "Less likely next bytes that are computed while nobody waits: CPU for fewer steps later.",
        0,
    )
    max_stream_age: float = _setting(
        duration(), "How long a stream lives at most; then its caller is told to go on over another one.", 1800.0
    )
    grace_s: float = _setting(seconds(0, 3600), "Seconds that calls in flight may take at the end.", 20.0)
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        one_of("debug", "info", "warning", "error"), "Least level logged.", "info"
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        one_of("auto", "json", "console"), "auto: readable on a terminal, JSON elsewhere.", "auto"
    )

    def listen(self) -> ListenConfig:
        """The part for the listeners."""
        return ListenConfig(self.host, self.grpc_port, self.http_port, self.metrics_port)

    def transport(self) -> TransportConfig:
        """The part for the facades."""
        return TransportConfig(
            self.max_request_bytes,
            self.trust_tenant_header,
            self.allowed_origins,
            self.host,
            self.api_keys_file,
            self.max_stream_age,
        )

    @property
    def default_model(self) -> Path:
        """The folder of the model that answers who names none."""
        return self.model[0]

    def models_to_load(self) -> tuple[ModelConfig, ...]:
        """The part for the runtime, the default model first."""
        found = map(model_folder, self.model)
        return tuple(ModelConfig(one, self.precision, self.threads, self.allow_batch_dependent) for one in found)

    def rollout(self) -> RolloutConfig:
        """The part for new versions of models."""
        return RolloutConfig(self.watch_models, self.model_admin, self.rollout_idle, self.rollout_within)

    def capacity(self) -> CapacityConfig:
        """The part for the sessions and the engine."""
        return CapacityConfig(
            self.max_edit_bytes,
            self.max_session_bytes,
            self.max_sessions,
            self.state_budget,
            self.max_batch_rows,
            self.max_queued,
            self.max_replays,
            self.look_ahead,
        )

    def storing(self) -> StoreConfig:
        """The part for the store. Raises SettingsError if they do not fit together, or a password cannot be read."""
        scheme, _, rest = self.store.partition(":")
        shared = scheme in SHARED_STORES
        if shared and self.acknowledge == "memory":
            raise SettingsError(
                f"{_spellings('acknowledge')}: memory is for a store of one process: with {scheme}:// it is "
                "store or fsync"
            )
        return StoreConfig(
            kind="valkey" if shared else "sqlite" if scheme == "sqlite" else "memory",
            path=Path(rest).expanduser() if scheme == "sqlite" else None,
            url=self.store if shared else None,
            password=self._store_password(),
            acknowledge=self.acknowledge,
            retention_s=self.retention,
            sessions_per_tenant=self.max_tenant_sessions,
            bytes_per_tenant=self.max_tenant_bytes,
            max_sessions=self.max_sessions,
            snapshots=self.snapshots,
        )

    def _store_password(self) -> str | None:
        if self.store_password_file is None:
            return None
        try:
            return self.store_password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{_spellings('store_password_file')}: cannot be read: {error}") from error

    def log(self) -> LogConfig:
        """The part for the logs."""
        return LogConfig(self.log_level, self.log_format)


SETTINGS: Mapping[str, About] = {
    one.name: About(
        one.metadata["kind"],
        one.metadata["description"],
        default=None if one.default is MISSING else one.default,
        made=one.metadata.get("made"),
    )
    for one in fields(Settings)
}


def load_settings(flags: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """The settings of this process. `flags` holds only what was given on the command line.

    Raises SettingsError: one sentence that names the setting, the value's fault and the accepted form.
    """
    variables = {name: os.environ.get(f"{ENVIRONMENT_PREFIX}{name.upper()}") for name in SETTINGS}
    given = {**_file(config_file), **{name: value for name, value in variables.items() if value}, **flags}
    return Settings(**{name: _read(name, value) for name, value in given.items()})


def _read(name: str, value: object) -> Any:
    if name not in SETTINGS:
        raise SettingsError(f"{_spellings(name)}: there is no such setting")
    try:
        return SETTINGS[name].kind.read(value)
    except ValueError as error:
        raise SettingsError(f"{_spellings(name)}: {error}") from error


def _file(config_file: Path | None) -> Mapping[str, Any]:
    if config_file is None:
        return {}
    import tomllib  # as difflib below: most starts name no file, and import what they need alone

    try:
        return tomllib.loads(config_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config: {config_file} is not a file") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingsError(f"--config: {config_file} is not valid TOML: {error}") from error


def _spellings(name: str) -> str:
    if name not in SETTINGS:
        import difflib

        close = difflib.get_close_matches(name, SETTINGS, n=1)
        return f"{name} (in the file)" + (f", perhaps {close[0]} is meant" if close else "")
    return f"{name} (--{name.replace('_', '-')}, {ENVIRONMENT_PREFIX}{name.upper()})"
