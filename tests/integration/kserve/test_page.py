"""The page about the protocol: its program runs, and its tables are those of the server."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from service.bootstrap import Server
from service.engine.fake_model import FakeModel
from service.engine.requests import ModelIdentity
from service.settings import ModelConfig
from service.tensor_serving import load_tensor_model
from service.transport.kserve.metadata import INPUTS, MAX_BATCH, OUTPUTS
from service.transport.kserve.parameters import MAX_TOP_K, TOP_K
from tests.integration.kserve.driver import NO_CLIENT, PYTHON
from tests.integration.servers import make_server

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "kserve.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SEASON = ROOT / "models" / "lab" / "season"


@pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)
async def test_its_program_types_in_a_sequence() -> None:
    text, _ = PROGRAMS
    server = make_server(models=[(FakeModel(), ModelIdentity("python", "0" * 64, "numerics"))])
    assert (await _said_by(text, server)).count("\n") >= 3


@pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)
async def test_its_program_forecasts_in_a_sequence() -> None:
    _, numbers = PROGRAMS
    server = make_server(models=[], tensors=[load_tensor_model(ModelConfig(SEASON, None, 1, False))])
    assert len(re.findall(r"\d+\.\d+", await _said_by(numbers, server))) == 6


async def _said_by(program: str, server: Server) -> str:
    addresses = await server.start()
    try:
        program = program.replace("127.0.0.1:50051", f"127.0.0.1:{addresses.grpc_port}")
        program = program.replace("127.0.0.1:8000", f"127.0.0.1:{addresses.http_port}")
        return await asyncio.to_thread(subprocess.check_output, [str(PYTHON), "-c", program], text=True)
    finally:
        await server.stop()


def test_its_tables_name_every_tensor_and_limit() -> None:
    for name, datatype, *_ in (*INPUTS, *OUTPUTS):
        assert re.search(rf"^\| `{name}` \| {datatype}\b", PAGE, re.MULTILINE), name
    assert f"at most {MAX_BATCH} go together" in PAGE
    assert f"`top_k` (1 to {MAX_TOP_K}, {TOP_K} if not given)" in PAGE
