"""The Kubernetes objects as they are applied, for tests that compare them with the server."""

from __future__ import annotations

from functools import cache
from typing import Any

from deploy import validate
from deploy.kustomizations import DEPLOY, Kustomization, renderings

NAMES = tuple(one.name for one in renderings())
SERVED = tuple(name for name in NAMES if name != "components/kserve")
"""The renderings with a server of ours and what is around it."""


@cache
def applied(name: str) -> tuple[dict[str, Any], ...]:
    """What `kubectl apply -k deploy/NAME` applies."""
    (one,) = (one for one in renderings() if one.name == name)
    return tuple(validate.kept(one))


def kustomization(name: str) -> Kustomization:
    """The folder of that name below deploy/."""
    return Kustomization(DEPLOY / name)


def one(rendering: str, kind: str, name: str = "carousel") -> Any:
    """The only object of a kind and name."""
    (found,) = (made for made in applied(rendering) if (made["kind"], made["metadata"]["name"]) == (kind, name))
    return found


def kinds(rendering: str) -> list[tuple[str, str]]:
    """Kind and name of every object, sorted."""
    return sorted((made["kind"], made["metadata"]["name"]) for made in applied(rendering))


def workloads(rendering: str) -> list[Any]:
    """Everything that makes pods."""
    return [made for made in applied(rendering) if made["kind"] in ("Deployment", "StatefulSet")]


def server(rendering: str) -> Any:
    """The workload whose pods are servers of ours."""
    (found,) = (made for made in workloads(rendering) if made["metadata"]["name"] == "carousel")
    return found


def pod(rendering: str) -> Any:
    """The pod of a server."""
    return server(rendering)["spec"]["template"]["spec"]


def container(rendering: str) -> Any:
    """The only container of that pod."""
    (only,) = pod(rendering)["containers"]
    return only


def environment(container: Any) -> dict[str, str]:
    """What it sets."""
    return {entry["name"]: entry["value"] for entry in container["env"]}


def ports(container: Any) -> dict[str, int]:
    """Its ports by name."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def mebibytes(quantity: str) -> int:
    """Of `512Mi` or `1Gi`."""
    number, unit = int(quantity[:-2]), quantity[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]
