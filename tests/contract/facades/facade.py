"""What a scenario says to a facade and hears from it, whatever the protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from service.errors import Code
from tests.integration.servers import Running

Ability = Literal["session", "revision", "model", "unknown_field", "timeout", "origin", "tenant", "range"]
EVERYTHING: frozenset[Ability] = frozenset(
    {"session", "revision", "model", "unknown_field", "timeout", "origin", "tenant", "range"}
)


@dataclass(frozen=True)
class Asked:
    """How does this text go on? Of a new session or a prompt, or of a session that there is, at a revision."""

    text: str = "import os\n"
    max_bytes: int = 8
    session: str | None = None
    revision: int = 1
    model: str | None = None
    unknown_field: bool = False
    timeout_s: float | None = None
    origin: str | None = None
    tenant: str | None = None
    authorization: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those of HTTP."""
        timeout_ms = None if self.timeout_s is None else str(int(self.timeout_s * 1000))
        given = {"origin": self.origin, "x-carousel-timeout-ms": timeout_ms}
        return dict(self.metadata) | {name: value for name, value in given.items() if value is not None}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Those of gRPC."""
        given = {"x-carousel-tenant": self.tenant, "authorization": self.authorization}
        return tuple((name, value) for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Told:
    """What comes next, and why it ends there in the facade's own word; None where it says none."""

    text: str
    finish: str | None = None


class Refused(Exception):
    """An error as a facade tells it. `status` is the protocol's."""

    def __init__(
        self, code: str, status: object, *, message: str, field: str | None, retry_after_s: float | None
    ) -> None:
        super().__init__(f"{code} {status} {field}: {message}")
        self.code, self.status, self.message = code, status, message
        self.field, self.retry_after_s = field, retry_after_s


class Facade(ABC):
    """One protocol's way to ask."""

    name: ClassVar[str]
    says: ClassVar[Literal["suggestions", "completions"]]
    can: ClassVar[frozenset[Ability]] = EVERYTHING
    late: ClassVar[Code | None] = None
    """The code if a caller's time is up; None for an answer that says so."""
    sheds: ClassVar[bool]
    """Whether a full queue costs the suggestions rather than the answer."""
    longest: ClassVar[int]
    """The most bytes that may be asked for."""

    @classmethod
    @abstractmethod
    @asynccontextmanager
    def to(cls, server: Running) -> AsyncIterator[Self]:
        """Connect."""

    @abstractmethod
    def status(self, code: Code) -> object:
        """The protocol's status of a code."""

    @abstractmethod
    async def ask(self, asked: Asked) -> Told:
        """Raises Refused."""

    @abstractmethod
    async def nonsense(self) -> None:
        """Send what is no request at all. Raises Refused."""

    @abstractmethod
    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        """Ask for as much as may be asked for, and be gone once it has begun: as the protocol has it, or cut off."""
