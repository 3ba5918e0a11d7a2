"""What kubectl makes of the kustomizations, kept in deploy/rendered, so that a change of what is applied is seen.

    python -m deploy.kustomizations    # write deploy/rendered, and the objects that the Helm chart starts from

Wants a kubectl on the PATH. Without one, a rendering is still known to be stale: it names the digest of all files that
it was made of.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent
KUSTOMIZATION = "kustomization.yaml"
_RENDERED = DEPLOY / "rendered"
_OF_CHART = DEPLOY / "helm" / "carousel" / "files" / "base.yaml"
_DIGEST = re.compile(r"^# sha256 of what it is made of: ([0-9a-f]{64})$", re.MULTILINE)
_HEADER = """\
# What `kubectl apply -k deploy/{folder}` applies; written by `python -m deploy.kustomizations`.
# sha256 of what it is made of: {digest}
"""

Manifest = dict[str, Any]


class CannotRender(Exception):
    """kubectl refuses a kustomization; the message is its own."""


@dataclass(frozen=True, slots=True)
class Kustomization:
    """A folder with a kustomization.yaml."""

    folder: Path

    @property
    def name(self) -> str:
        """Where it is below deploy/."""
        return self.folder.relative_to(DEPLOY).as_posix()

    @property
    def is_component(self) -> bool:
        """Whether it only changes others, and cannot be applied."""
        return bool(self._document["kind"] == "Component")

    @property
    def resources(self) -> tuple[Path, ...]:
        """The files of objects that it adds."""
        return tuple(path for path in self._named("resources") if path.is_file())

    @property
    def rendered(self) -> Path:
        """Where its rendering is kept."""
        return _RENDERED / f"{self.name.replace('/', '-')}.yaml"

    @property
    def _document(self) -> Manifest:
        document: Manifest = yaml.safe_load((self.folder / KUSTOMIZATION).read_text(encoding="utf-8"))
        return document

    def _named(self, key: str) -> Iterator[Path]:
        for name in self._document.get(key, ()):
            yield (self.folder / name).resolve(strict=True)

    def sources(self) -> set[Path]:
        """Every file that its rendering depends on. Raises FileNotFoundError if it names one that is not there."""
        found = {self.folder / KUSTOMIZATION, *self.resources}
        for patch in self._document.get("patches", ()):
            if "path" in patch:
                found.add((self.folder / patch["path"]).resolve(strict=True))
        for generator in self._document.get("configMapGenerator", ()):
            found.update((self.folder / name).resolve(strict=True) for name in generator["files"])
        for folder in (*self._named("resources"), *self._named("components")):
            if folder.is_dir():
                found |= Kustomization(folder).sources()
        return found

    def digest(self) -> str:
        """sha256 over the names and contents of its sources."""
        said = hashlib.sha256()
        for path in sorted(self.sources()):
            said.update(path.relative_to(DEPLOY).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return said.hexdigest()

    def render(self, kubectl: str) -> str:
        """What `kubectl kustomize` prints. Raises CannotRender."""
        command = [kubectl, "kustomize", str(self.folder)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if result.returncode:
            raise CannotRender(f"{self.name}: {result.stderr.strip()}")
        return result.stdout

    def is_stale(self) -> bool:
        """Whether the rendering that is kept is of other files than those that are there now."""
        if not self.rendered.is_file():
            return True
        said = _DIGEST.search(self.rendered.read_text(encoding="utf-8"))
        return said is None or said[1] != self.digest()


def kustomizations() -> list[Kustomization]:
    """All below deploy/."""
    return sorted((Kustomization(path.parent) for path in DEPLOY.rglob(KUSTOMIZATION)), key=lambda one: one.name)


def renderings() -> list[Kustomization]:
    """Those that can be applied."""
    return [one for one in kustomizations() if not one.is_component]


def main() -> None:
    """Render everything."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise SystemExit("kubectl is not on the PATH; it renders the kustomizations")
    for one in renderings():
        rendered = one.render(kubectl)
        one.rendered.write_text(_HEADER.format(folder=one.name, digest=one.digest()) + rendered, encoding="utf-8")
        if one.name == "base":
            _OF_CHART.write_text(rendered, encoding="utf-8")
        print(one.rendered.relative_to(DEPLOY.parent))


if __name__ == "__main__":
    main()
