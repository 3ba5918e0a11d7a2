"""What the README gives to copy does what it says: its Python example and the requests of its curl lines."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.servers import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


async def test_the_python_example_prints_suggestions(server: Running) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "127.0.0.1:50051" in example
    program = example.replace("127.0.0.1:50051", server.grpc)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert re.match(r"\d\.\d\d '", ran.stdout)


async def test_every_curl_line_is_answered(server: Running) -> None:
    lines = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", README, re.MULTILINE)
    assert len(lines) == 3
    async with httpx.AsyncClient() as client:
        for line in lines:
            words = shlex.split(line.replace("\\\n", " "))
            (address,) = [word for word in words if word.startswith("localhost:8000/")]
            url = server.http + address.removeprefix("localhost:8000")
            body, kind = words[words.index("-d") + 1], {"content-type": "application/json"}
            answer = await client.post(url, content=body.encode(), headers=kind)
            assert answer.status_code in (200, 201), answer.text
            assert bool(answer.json().get("suggestions")) == ("suggest" in body)
