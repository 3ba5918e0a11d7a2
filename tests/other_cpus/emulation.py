"""Python with onnxruntime on an emulated CPU: x86-64 with this environment, ARM with a small Debian of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

_DEBIAN = "bookworm"
_PYTHON = "3.11"  # of that Debian
_PACKAGES = f"python{_PYTHON}-minimal,libpython{_PYTHON}-stdlib,libstdc++6,zlib1g,libexpat1"
_WHEELS = ("numpy", "onnxruntime", "protobuf", "flatbuffers", "packaging")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_RUN_S = 600
_MAKE_S = 900
# onnxruntime reads which ARM it is on from here, and does not survive finding an x86.
_ARM_CPU = """\
processor\t: {number}
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


@dataclass(frozen=True)
class EmulatedPython:
    """How Python starts on the emulated CPU."""

    command: tuple[str, ...]

    def run(self, *arguments: str) -> None:
        """Run it to its end; raises CalledProcessError, with what it said in the test's output."""
        subprocess.run([*self.command, *arguments], check=True, timeout=_RUN_S)


def needs(*commands: str) -> None:
    """Skip where a system package is missing; `make test-all` installs them."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: .ci/system-packages qemu-user-static mmdebstrap")


def x86(cpu: str) -> EmulatedPython:
    """This environment's Python on another x86-64."""
    needs("qemu-x86_64-static")
    return EmulatedPython(("qemu-x86_64-static", "-cpu", cpu, sys.executable))


def arm(cpu: str, cache: Path) -> EmulatedPython:
    """A Debian's Python on a 64-bit ARM; made in `cache` once."""
    needs("qemu-aarch64-static", "mmdebstrap")
    root, site = cache / "root", cache / "site"
    if not (cache / "complete").exists():
        _make_root(root)
        _install_wheels(cache / "wheels", site)
        (cache / "complete").touch()
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    handed = [part for name, value in environment.items() for part in ("-E", f"{name}={value}")]
    python = str(root / f"usr/bin/python{_PYTHON}")
    return EmulatedPython(("qemu-aarch64-static", "-cpu", cpu, "-L", str(root), *handed, python))


def _make_root(root: Path) -> None:
    """Debian's files alone, unpacked and not configured: nothing of them is run but Python."""
    if root.exists():
        shutil.rmtree(root)
    made = ["mmdebstrap", "--quiet", "--variant=extract", "--arch=arm64", f"--include={_PACKAGES}", _DEBIAN, str(root)]
    subprocess.run(made, check=True, timeout=_MAKE_S)
    (root / "proc").mkdir(exist_ok=True)
    cpus = (_ARM_CPU.format(number=number) for number in range(os.cpu_count() or 1))
    (root / "proc/cpuinfo").write_text("".join(cpus))


def _install_wheels(wheels: Path, site: Path) -> None:
    """The versions that are installed here, for ARM."""
    pip: Sequence[str] = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    platforms = [part for platform in _PLATFORMS for part in ("--platform", platform)]
    names = [f"{name}=={version(name)}" for name in _WHEELS]
    target = ["--implementation", "cp", "--python-version", _PYTHON, "--dest", str(wheels)]
    subprocess.run([*pip, *platforms, *target, *names], check=True, timeout=_MAKE_S)
    for wheel in wheels.glob("*.whl"):
        with ZipFile(wheel) as files:
            files.extractall(site)
