"""Let buf look at carousel.v1: its style, and whether it breaks anybody who was built with the protocol before.

    python proto/check.py            # lint, and compare with proto/released.binpb
    python proto/check.py --release  # what is here now is released: write it there

buf is installed with npm into .buf, once; where there is no npm the check is skipped, and says so. What it reads is an
image, made by the protoc of grpcio-tools with the pinned googleapis-common-protos: so nothing is fetched from anywhere
else. `inference` is not ours to change, and not looked at.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2  # type: ignore[import-untyped]  # it ships no types
from grpc_tools import protoc  # type: ignore[import-untyped]  # it ships no types

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
RELEASED = PROTO / "released.binpb"
BUF_VERSION = "1.75.0"


def write_image(path: Path, *, with_comments: bool) -> None:
    """Write the descriptors of carousel.v1 and of all that it imports. Raises SystemExit if protoc fails."""
    arguments = [
        "protoc",
        f"-I{PROTO}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"-I{Path(status_pb2.__file__).parents[2]}",
        f"--descriptor_set_out={path}",
        "--include_imports",
        *(["--include_source_info"] if with_comments else []),
        *sorted(str(proto.relative_to(PROTO)) for proto in (PROTO / "carousel").rglob("*.proto")),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the protos; its message stands above")


def find_buf() -> Path | None:
    """buf of the pinned version, installed if need be; None without npm. Raises SystemExit if npm fails."""
    folder = ROOT / ".buf" / BUF_VERSION
    buf = folder / "node_modules" / ".bin" / "buf"
    if buf.exists():
        return buf
    npm = shutil.which("npm")
    if npm is None:
        return None
    print(f"installing buf {BUF_VERSION} into {folder.relative_to(ROOT)}")
    folder.mkdir(parents=True, exist_ok=True)
    where = ("--silent", "--no-audit", "--no-fund", "--prefix", str(folder))
    command = [npm, "install", *where, f"@bufbuild/buf@{BUF_VERSION}"]
    if subprocess.run(command, check=False).returncode != 0 or not buf.exists():
        raise SystemExit(f"npm could not install buf {BUF_VERSION}; its message stands above")
    return buf


def main() -> int:
    """The exit code is 1 if buf found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true", help="write proto/released.binpb; nothing is checked")
    if parser.parse_args().release:
        write_image(RELEASED, with_comments=False)
        return 0
    buf = find_buf()
    if buf is None:
        print("skipped: buf's lint and breaking, which need npm (Node.js); install it to run them", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "now.binpb"
        write_image(image, with_comments=True)
        config = ("--config", str(PROTO / "buf.yaml"))
        checks = (("lint", str(image), *config), ("breaking", str(image), "--against", str(RELEASED), *config))
        found = [subprocess.run([str(buf), *check], check=False).returncode != 0 for check in checks]
    return int(any(found))


if __name__ == "__main__":
    raise SystemExit(main())
