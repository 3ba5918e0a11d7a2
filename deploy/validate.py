"""Check the Kubernetes manifests: every file by its kind's schema, and every kustomization as kubectl renders it.

    python deploy/validate.py

kubernetes-validate brings the schemas, so no cluster is asked; unknown fields are errors. Rendering wants a kubectl on
the PATH; without one, the files alone are checked and a line says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

DEPLOY = Path(__file__).resolve().parent
KUSTOMIZATION = "kustomization.yaml"
# The oldest release that is checked, for gRPC probes and every field used; kubernetes-validate brings newer ones too.
KUBERNETES_VERSION = "1.29"

Manifest = dict[str, Any]


class InvalidManifest(Exception):
    """A manifest that Kubernetes would refuse; the message names the file or rendering, the object and the field."""


def kustomizations() -> list[Path]:
    """The folders below deploy/ that can be rendered."""
    return sorted(path.parent for path in DEPLOY.rglob(KUSTOMIZATION))


def manifests(text: str, source: str) -> Iterator[Manifest]:
    """The documents of a YAML text. Raises InvalidManifest if it is none, or if a document is not an object."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidManifest(f"{source}: {error}") from error
    for document in documents:
        if not isinstance(document, dict) or "kind" not in document:
            raise InvalidManifest(f"{source}: not a Kubernetes object: {document!r:.80}")
        yield document


def files(folder: Path) -> Iterator[tuple[str, Manifest]]:
    """Every object in the files of a kustomization, with the file's name."""
    for path in sorted(folder.glob("*.yaml")):
        if path.name != KUSTOMIZATION:
            name = str(path.relative_to(DEPLOY.parent))
            yield from ((name, manifest) for manifest in manifests(path.read_text(encoding="utf-8"), name))


def render(folder: Path, kubectl: str) -> list[Manifest]:
    """What `kubectl kustomize` makes of the folder. Raises InvalidManifest with kubectl's message if it refuses."""
    result = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise InvalidManifest(f"{folder.name}: {result.stderr.strip()}")
    return list(manifests(result.stdout, f"{folder.name}, rendered"))


def validate(manifest: Manifest, source: str) -> None:
    """Raises InvalidManifest if the object does not match its kind's schema, unknown fields included."""
    what = f"{source}: {manifest['kind']} {manifest.get('metadata', {}).get('name', '?')}"
    try:
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise InvalidManifest(f"{what}: {'.'.join(map(str, error.path))}: {error.message}") from error
    except kubernetes_validate.SchemaNotFoundError as error:
        raise InvalidManifest(f"{what}: no such kind in Kubernetes {KUBERNETES_VERSION}") from error


def main() -> int:
    """Check everything; the exit code is 1 if something is invalid."""
    kubectl = shutil.which("kubectl")
    checked = 0
    try:
        for folder in kustomizations():
            found = list(files(folder))
            if kubectl:
                found += [(f"{folder.relative_to(DEPLOY.parent)}, rendered", m) for m in render(folder, kubectl)]
            for source, manifest in found:
                validate(manifest, source)
                checked += 1
    except InvalidManifest as error:
        print(error, file=sys.stderr)
        return 1
    how = "files and renderings" if kubectl else "files only, as there is no kubectl to render them"
    print(f"{checked} Kubernetes objects are valid ({how})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
