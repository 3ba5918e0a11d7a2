"""The versions of the models as the repository's calls show them, and who changes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from service.engine.requests import ModelIdentity
from service.sessions.commands import Tenant
from service.sessions.service import Sessions
from service.transport.kserve.refusals import loading_is_off
from service.versions import LEAST_DIGITS

FIRST: Final = "1"
"""The version that a server starts with; each that is loaded later counts one more."""


class VersionState(StrEnum):
    """In Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model. number: in the order of loading in this process; the same for the same digest.

    reason: why it is not all there; empty for the one that serves what is new.  identity: known once it was loaded.
    """

    name: str
    number: str
    state: VersionState
    reason: str = ""
    identity: ModelIdentity | None = None


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version that is loaded."""

    name: str
    number: str
    identity: ModelIdentity

    @property
    def pinned(self) -> str:
        """What names exactly this version to the sessions."""
        return f"{self.name}@{self.identity.digest}"


def served(versions: Iterable[ModelVersion], version: str) -> ServedVersion | None:
    """The loaded one of this number or digest, of which a beginning will do; None if there is none."""
    for one in versions:
        if one.identity is None:
            continue
        digest = one.identity.digest
        if version in (one.number, digest) or (len(version) >= LEAST_DIGITS and digest.startswith(version)):
            return ServedVersion(one.name, one.number, one.identity)
    return None


class Repository(Protocol):
    """What the calls work on. On the event loop's thread."""

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """Of a model that is served, by their numbers; those that were unloaded or could not be loaded, too."""

    async def load(self, tenant: Tenant, name: str) -> None:
        """Load what is in the model's folder now, unless it serves already.

        Raises PermissionDenied for a caller who may not, InvalidArgument if it cannot be loaded (what served goes on
        to), Unavailable.
        """

    async def unload(self, tenant: Tenant, name: str) -> None:
        """Have the older versions unloaded, as soon as nothing is under way there. Raises as `load`."""


class AsStarted:
    """A Repository of a server whose models never change."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """As `Repository.versions`: one."""
        return [
            ModelVersion(name, FIRST, VersionState.READY, identity=model)
            for model in self._sessions.models
            if model.name == name
        ]

    async def load(self, tenant: Tenant, name: str) -> None:
        """Refused."""
        raise loading_is_off()

    async def unload(self, tenant: Tenant, name: str) -> None:
        """Refused."""
        raise loading_is_off()
