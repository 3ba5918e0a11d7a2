"""Every setting of the server, read once: flag, then CAROUSEL_* environment variable, then file, then default.

Nothing else reads the environment. Each component gets its own small frozen config from here, never all the settings.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

ENVIRONMENT_PREFIX = "CAROUSEL_"
MEMORY_STORE = "memory:"
_SHIPPED_MODEL = Path("models") / "python"

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=1)]


def shipped_model() -> Path:
    """The model folder that comes with Carousel: `models/python` of this checkout, or else of the working folder."""
    shipped = Path(__file__).resolve().parent.parent / _SHIPPED_MODEL
    return shipped if shipped.is_dir() else _SHIPPED_MODEL


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
    """What both facades need to know of a request: its largest size, whom to believe, which browsers may call."""

    max_request_bytes: int
    trust_tenant_header: bool
    allowed_origins: tuple[str, ...]
    host: str


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which graph of which folder to load, how many threads a step may use, and whether its rows may touch."""

    folder: Path
    precision: Literal["fp32", "int8"] | None
    threads: int
    allow_batch_dependent: bool


@dataclass(frozen=True, slots=True)
class CapacityConfig:
    """How much the process holds before it refuses more."""

    max_edit_bytes: int
    max_session_bytes: int
    max_sessions: int
    state_budget_bytes: int
    max_batch_rows: int
    max_queued: int


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much to log and in which shape; `auto` is readable on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "json", "console"]


class Settings(BaseSettings):
    """What an operator may set. Every field is a flag of `carousel serve` and a CAROUSEL_* variable."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address that all ports listen on.")
    grpc_port: Port = Field(default=50051, description="Port of gRPC; 0 lets the system choose.")
    http_port: Port = Field(default=8000, description="Port of REST and its documentation; 0 lets the system choose.")
    metrics_port: Port = Field(default=9464, description="Port of the Prometheus metrics; 0 lets the system choose.")
    model: Path = Field(default_factory=shipped_model, description="The model folder to serve.")
    precision: Literal["fp32", "int8"] | None = Field(
        default=None, description="Which graph of the folder to serve; int8 where there is one by default."
    )
    threads: int = Field(default=1, ge=1, le=64, description="Threads of one model step.")
    allow_batch_dependent: bool = Field(
        default=False,
        description="Serve a graph whose rows depend on each other: what one types changes what another is shown.",
    )
    store: str = Field(default=MEMORY_STORE, description="Where sessions are kept: memory:.")
    api_keys_file: Path | None = Field(default=None, description="File of API keys.")
    trust_tenant_header: bool = Field(
        default=False, description="Believe x-carousel-tenant; only behind a gateway that has authenticated the caller."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Web origins that may call the REST paths, separated by commas."
    )
    max_edit_bytes: Bytes = Field(default=64 * 1024, description="Largest edit, in bytes of UTF-8.")
    max_session_bytes: Bytes = Field(default=1024 * 1024, description="Largest text of a session, in bytes of UTF-8.")
    max_request_bytes: Bytes = Field(default=1024 * 1024, description="Largest request, in bytes.")
    max_sessions: int = Field(default=10_000, ge=1, description="Most sessions that this process holds.")
    state_budget: Annotated[ByteSize, Field(ge=1)] = Field(
        default=ByteSize(256 << 20), description="Memory for states, in bytes or as 256MiB."
    )
    max_batch_rows: int = Field(default=64, ge=1, le=1024, description="Most rows that one model step takes.")
    max_queued: int = Field(default=4096, ge=1, description="Most requests that wait for the engine.")
    grace_s: float = Field(default=20.0, ge=0, le=3600, description="Seconds that calls in flight may take at the end.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: readable on a terminal, JSON elsewhere."
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest or "*" in rest:
                raise ValueError(f"{origin!r} is not an origin; write scheme and host, such as https://editor.example")
        return value

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        if value != MEMORY_STORE:
            raise ValueError(f"{value!r} is not a supported store; accepted: {MEMORY_STORE}")
        return value

    @field_validator("api_keys_file")
    @classmethod
    def _no_keys(cls, value: Path | None) -> Path | None:
        if value is not None:
            # A server that ignored the file would be open to everyone while its operator believes it closed.
            raise ValueError("API keys are not supported; leave it out and put a gateway that checks keys in front")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file named by --config; no file is read unless it was named."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def listen(self) -> ListenConfig:
        """The part for the listeners."""
        return ListenConfig(self.host, self.grpc_port, self.http_port, self.metrics_port)

    def transport(self) -> TransportConfig:
        """The part for the facades."""
        return TransportConfig(self.max_request_bytes, self.trust_tenant_header, self.allowed_origins, self.host)

    def model_to_load(self) -> ModelConfig:
        """The part for the runtime."""
        return ModelConfig(self.model, self.precision, self.threads, self.allow_batch_dependent)

    def capacity(self) -> CapacityConfig:
        """The part for the sessions and the engine."""
        return CapacityConfig(
            self.max_edit_bytes,
            self.max_session_bytes,
            self.max_sessions,
            self.state_budget,
            self.max_batch_rows,
            self.max_queued,
        )

    def log(self) -> LogConfig:
        """The part for the logs."""
        return LogConfig(self.log_level, self.log_format)


def load_settings(flags: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """The settings of this process. `flags` holds only what was given on the command line.

    Raises SettingsError: one sentence that names the setting, the value's fault and the accepted form.
    """
    source = _settings_from(config_file)
    try:
        return source(**flags)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--config: {config_file} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        fault = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise SettingsError(f"{_spellings(name)}: {fault.removeprefix('Value error, ')}") from error


def _settings_from(config_file: Path | None) -> type[Settings]:
    if config_file is None:
        return Settings
    if not config_file.is_file():
        raise SettingsError(f"--config: {config_file} is not a file")

    class SettingsWithFile(Settings):
        model_config = SettingsConfigDict(toml_file=config_file)

    return SettingsWithFile


def _spellings(name: str) -> str:
    if name not in Settings.model_fields:
        close = difflib.get_close_matches(name, Settings.model_fields, n=1)
        return f"{name} (in the file)" + (f", perhaps {close[0]} is meant" if close else "")
    return f"{name} (--{name.replace('_', '-')}, {ENVIRONMENT_PREFIX}{name.upper()})"
