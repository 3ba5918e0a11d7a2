"""Check what is applied to clusters: every file by its kind's schema, every kustomization as it is rendered.

    python -m deploy.validate

No cluster is asked. kubernetes-validate brings the schemas of built-in kinds, deploy/schemas those of custom
resources; unknown fields are errors. With a kubectl on the PATH kustomizations are rendered anew and compared with
deploy/rendered; without one, what stands there is checked, and that it is of the files that are there now.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from deploy.kustomizations import DEPLOY, CannotRender, Kustomization, Manifest, kustomizations, renderings

# The oldest release that is checked, for every field used; kubernetes-validate brings newer ones too.
KUBERNETES_VERSION = "1.30"
SCHEMAS = DEPLOY / "schemas"


class InvalidManifest(Exception):
    """A manifest that Kubernetes would refuse; the message names the file or rendering, the object and the field."""


def manifests(text: str, source: str) -> Iterator[Manifest]:
    """The documents of a YAML text. Raises InvalidManifest if it is none, or if a document is not an object."""
    try:
        documents = [document for document in yaml.load_all(text, _LOADER) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidManifest(f"{source}: {error}") from error
    for document in documents:
        if not isinstance(document, dict) or "kind" not in document:
            raise InvalidManifest(f"{source}: not a Kubernetes object: {document!r:.80}")
        yield document


# The parser in C where PyYAML was built with it: a second less for all renderings.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def files(one: Kustomization) -> Iterator[tuple[str, Manifest]]:
    """Every object in the files of a kustomization, with the file's name."""
    for path in one.resources:
        name = str(path.relative_to(DEPLOY.parent))
        yield from ((name, manifest) for manifest in manifests(path.read_text(encoding="utf-8"), name))


def kept(one: Kustomization) -> list[Manifest]:
    """The objects of its rendering that is kept. Raises InvalidManifest if that is of other files."""
    name = str(one.rendered.relative_to(DEPLOY.parent))
    if one.is_stale():
        raise InvalidManifest(f"{name} is not of the files that are there now: run `python -m deploy.kustomizations`")
    return list(manifests(one.rendered.read_text(encoding="utf-8"), name))


def render(one: Kustomization, kubectl: str) -> list[Manifest]:
    """What `kubectl kustomize` makes of it. Raises InvalidManifest if it refuses, or if it is not what is kept."""
    try:
        rendered = list(manifests(one.render(kubectl), f"{one.name}, rendered"))
    except CannotRender as error:
        raise InvalidManifest(str(error)) from error
    if rendered != kept(one):
        raise InvalidManifest(f"{one.name}: rendered, it is not what deploy/rendered keeps of it")
    return rendered


def validate(manifest: Manifest, source: str) -> None:
    """Raises InvalidManifest if the object does not match its kind's schema, unknown fields included."""
    what = f"{source}: {manifest['kind']} {manifest.get('metadata', {}).get('name', '?')}"
    custom = _custom().get((manifest["apiVersion"], manifest["kind"]))
    if custom is not None:
        for error in custom.iter_errors(manifest):
            raise InvalidManifest(f"{what}: {'.'.join(map(str, error.absolute_path))}: {error.message}")
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise InvalidManifest(f"{what}: {'.'.join(map(str, error.path))}: {error.message}") from error
    except kubernetes_validate.SchemaNotFoundError as error:
        raise InvalidManifest(
            f"{what}: no such kind in Kubernetes {KUBERNETES_VERSION}, nor in deploy/schemas"
        ) from error


@cache
def _custom() -> dict[tuple[str, str], Draft202012Validator]:
    """The schemas of custom resources, by apiVersion and kind."""
    found = {}
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
        about = schema["properties"]
        found[about["apiVersion"]["const"], about["kind"]["const"]] = Draft202012Validator(schema)
    return found


def check_all(kubectl: str | None) -> int:
    """Check everything; how many objects there are. Raises InvalidManifest."""
    checked = 0
    for one in kustomizations():
        for source, manifest in files(one):
            validate(manifest, source)
            checked += 1
    for one in renderings():
        for manifest in render(one, kubectl) if kubectl else kept(one):
            validate(manifest, f"{one.name}, rendered")
            checked += 1
    return checked


def main() -> int:
    """Check everything; the exit code is 1 if something is invalid."""
    kubectl = shutil.which("kubectl")
    try:
        checked = check_all(kubectl)
    except InvalidManifest as error:
        print(error, file=sys.stderr)
        return 1
    how = "files and renderings" if kubectl else "files, and renderings as they are kept, as there is no kubectl"
    print(f"{checked} Kubernetes objects are valid ({how})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
