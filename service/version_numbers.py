"""What is told of a model's versions: their numbers in the order of loading, and what has become of each."""

from __future__ import annotations

from collections.abc import Sequence

from service.transport.kserve.repository import ModelVersion, VersionState
from service.versions import ModelVersions, Version

_MOST_TOLD = 8  # of those that are loaded no more


class VersionNumbers:
    """Of one model. A digest keeps its number for as long as the process lives."""

    def __init__(self, versions: ModelVersions) -> None:
        self._versions = versions
        self._name = versions.identity.name
        self._by_digest = {versions.identity.digest: 1}
        self._unloading: set[str] = set()
        self._unloaded: dict[str, None] = {}  # in the order in which they went
        self._loading: str | None = None
        self._failed: tuple[int, str] | None = None

    def number(self, digest: str) -> str:
        """Of a version that was loaded."""
        return str(self._by_digest[digest])

    def loads(self, digest: str) -> None:
        """It is being loaded."""
        self._loading, self._failed = digest, None

    def serves(self, version: Version) -> None:
        """It is there, and serves what is new."""
        identity = version.identity
        self._by_digest.setdefault(identity.digest, self._next())
        self._unloaded.pop(identity.digest, None)
        self._loading = self._failed = None

    def failed(self, why: str) -> None:
        """What was to be loaded could not be."""
        known = None if self._loading is None else self._by_digest.get(self._loading)
        self._failed, self._loading = (self._next() if known is None else known, why), None

    def as_it_was(self) -> None:
        """The folder holds again what serves."""
        self._failed = None

    def unloads(self, digest: str) -> None:
        """Nobody is with it any more; it is being given back."""
        self._unloading.add(digest)

    def unloaded(self, digest: str) -> None:
        """It is gone."""
        self._unloading.discard(digest)
        self._unloaded.pop(digest, None)
        self._unloaded[digest] = None
        while len(self._unloaded) > _MOST_TOLD:
            del self._unloaded[next(iter(self._unloaded))]

    def told(self) -> Sequence[ModelVersion]:
        """Every version, by its number."""
        found = {self._by_digest[digest]: self._gone(digest) for digest in self._unloaded}
        for digest in self._unloading:
            number = self._by_digest[digest]
            found[number] = ModelVersion(self._name, str(number), VersionState.UNLOADING)
        for version in self._versions.loaded:
            digest = version.identity.digest
            if digest in self._by_digest:  # else it is loaded, but does not serve yet
                found[self._by_digest[digest]] = self._ready(version)
        if self._loading is not None:
            number = self._by_digest.get(self._loading, self._next())
            found[number] = ModelVersion(self._name, str(number), VersionState.LOADING)
        if self._failed is not None:
            number, why = self._failed
            found[number] = ModelVersion(self._name, str(number), VersionState.UNAVAILABLE, why)
        return [found[number] for number in sorted(found)]

    def _ready(self, version: Version) -> ModelVersion:
        newest = self._versions.identity
        older = version.identity != newest
        reason = f"until its sessions are idle: version {self.number(newest.digest)} serves" if older else ""
        return ModelVersion(
            self._name, self.number(version.identity.digest), VersionState.READY, reason, version.identity
        )

    def _gone(self, digest: str) -> ModelVersion:
        return ModelVersion(self._name, self.number(digest), VersionState.UNAVAILABLE, "unloaded")

    def _next(self) -> int:
        return max(self._by_digest.values()) + 1
