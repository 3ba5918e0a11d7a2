"""An image, run as a cluster would: as its own user, on a root that cannot be written.

`buildah run` has no read-only root, so the image's files are mounted and entered with `unshare` and `chroot`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Storage and isolation that need neither a kernel module nor rights beyond root's; what is set already is kept.
BUILDAH_ENVIRONMENT = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot", **os.environ}

# $1 user:group  $2 root  $3 lines of VOLUME=PATH  then the command. Devices and processes are the machine's; everything
# else is the image's. A volume may be written, as a cluster's may; where it goes in the image is made if need be.
_ENTER = """
set -eu
user=$1 root=$2 volumes=$3; shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
printf '%s' "$volumes" | while IFS='=' read -r volume path; do
    mkdir -p "$root$path"
    mount --bind "$volume" "$root$path"
done
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


def buildah(*arguments: str) -> str:
    """What buildah prints. Raises CalledProcessError if it fails."""
    command = ["buildah", *arguments]
    return subprocess.run(command, check=True, env=BUILDAH_ENVIRONMENT, stdout=subprocess.PIPE, text=True).stdout


class Container:
    """The files and the configuration of one image."""

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        self.root = root
        self.config = config
        self.environment: dict[str, str] = dict(pair.split("=", 1) for pair in config["Env"])
        self.volumes: dict[str, Path] = {}
        """Folders of this machine by where they are in the container."""

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in it, or the image's own if none is given; its standard error is to be read.

        The process is the server itself: `unshare` and `chroot` have become it, so signals reach it.
        """
        user = self.config["User"]
        started = [*command] or [*self.config["Entrypoint"], *self.config["Cmd"]]
        volumes = "".join(f"{folder}={path}\n" for path, folder in self.volumes.items())
        return subprocess.Popen(
            ["unshare", "--mount", "--", "sh", "-c", _ENTER, "sh", user, str(self.root), volumes, *started],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end, for at most a minute."""
        process = self.start(*command, **environment)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextmanager
def container_of(image: str) -> Iterator[Container]:
    """A container of the image, mounted; gone afterwards."""
    name = buildah("from", "--pull-never", image).strip()
    try:
        root = Path(buildah("mount", name).strip())
        config = json.loads(buildah("inspect", name))["Docker"]["config"]
        yield Container(root, config)
    finally:
        buildah("rm", name)
