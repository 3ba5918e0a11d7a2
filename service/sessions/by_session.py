"""A dictionary by SessionKey that holds no key objects: one dictionary by id for each tenant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from service.sessions.commands import SessionId, Tenant
from service.sessions.records import SessionKey

V = TypeVar("V")


class BySession(Generic[V]):
    """Values by key. Ten thousand keys would take most of a megabyte; the ids in them are the callers' own strings."""

    __slots__ = ("_count", "_of_tenant")

    def __init__(self) -> None:
        self._of_tenant: dict[Tenant, dict[SessionId, V]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SessionKey]:
        return (SessionKey(tenant, id_) for tenant, of_tenant in self._of_tenant.items() for id_ in of_tenant)

    def get(self, key: SessionKey) -> V | None:
        """The value, or None."""
        of_tenant = self._of_tenant.get(key[0])
        return None if of_tenant is None else of_tenant.get(key[1])

    def of_tenant(self, tenant: Tenant) -> Collection[SessionId]:
        """The ids of one tenant's, in the order in which they were put."""
        return self._of_tenant.get(tenant, {}).keys()

    def put(self, key: SessionKey, value: V) -> None:
        """Set the value, in place of another if there was one."""
        of_tenant = self._of_tenant.setdefault(key.tenant, {})
        self._count -= len(of_tenant)
        of_tenant[key.id] = value
        self._count += len(of_tenant)

    def put_last(self, key: SessionKey, value: V) -> None:
        """As `put`, and it comes last in the order of its tenant's."""
        of_tenant = self._of_tenant.get(key.tenant)
        if of_tenant is not None and of_tenant.pop(key.id, None) is not None:
            self._count -= 1
        self.put(key, value)

    def first_of(self, tenant: Tenant) -> SessionKey:
        """The key that was put last the longest time ago. Raises StopIteration if the tenant has none."""
        return SessionKey(tenant, next(iter(self._of_tenant[tenant])))

    def largest_tenant(self) -> Tenant:
        """The tenant that has most. Raises ValueError if nothing is there. Costs a look at every tenant."""
        return max(self._of_tenant, key=lambda tenant: len(self._of_tenant[tenant]))

    def remove(self, key: SessionKey) -> None:
        """Forget the value. Raises KeyError if there is none."""
        of_tenant = self._of_tenant[key.tenant]
        del of_tenant[key.id]
        self._count -= 1
        if not of_tenant:
            del self._of_tenant[key.tenant]

    def clear(self) -> None:
        """Forget everything."""
        self._of_tenant.clear()
        self._count = 0
