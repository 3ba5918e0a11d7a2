"""Write constraints.txt: one version of every package that any install of this repository brings.

    python .ci/pin_constraints.py    # the newest versions that fit together

pip resolves the base dependencies and every extra of both distributions at once, in a dry run, so that a version is the
same whichever extras are installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")
HEADER = """\
# Every version that an install of this repository may bring; written by `make constraints`, used by every pip install
# of the Makefile and the Dockerfile. Resolved on Python 3.11, Linux.
"""


def requirements() -> list[str]:
    """What both distributions name: base, extras and build backends."""
    named: set[str] = set()
    for path in PROJECTS:
        if not path.exists():
            continue
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        project = document["project"]
        named.update(project.get("dependencies", ()), document["build-system"]["requires"])
        for extra in project.get("optional-dependencies", {}).values():
            named.update(extra)
    return sorted(name for name in named if not name.startswith(("carousel ", "carousel[", "carousel-client")))


def resolve(named: list[str]) -> dict[str, str]:
    """The versions pip would install into an empty environment, by name. Raises CalledProcessError if nothing fits."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", *named]
    report: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = (entry["metadata"] for entry in report["install"])
    # A local version such as +cpu names one build; without it, whichever build an index offers fits.
    return {meta["name"].lower().replace("_", "-"): meta["version"].partition("+")[0] for meta in found}


def main() -> None:
    """Resolve and write."""
    versions = resolve(requirements())
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"{len(lines)} versions pinned")


if __name__ == "__main__":
    main()
