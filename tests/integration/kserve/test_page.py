"""The page about the protocol: its program runs, and its tables are those of the server."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from service.engine.fake_model import FakeModel
from service.engine.requests import ModelIdentity
from service.transport.kserve.metadata import INPUTS, MAX_BATCH, OUTPUTS
from service.transport.kserve.parameters import MAX_TOP_K, TOP_K
from tests.integration.kserve.driver import NO_CLIENT, PYTHON
from tests.integration.servers import make_server

PAGE = (Path(__file__).parents[3] / "docs" / "kserve.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)
async def test_its_program_types_in_a_sequence() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    server = make_server(models=[(FakeModel(), ModelIdentity("python", "0" * 64, "numerics"))])
    addresses = await server.start()
    try:
        program = program.replace("127.0.0.1:50051", f"127.0.0.1:{addresses.grpc_port}")
        said = await asyncio.to_thread(subprocess.check_output, [str(PYTHON), "-c", program], text=True)
    finally:
        await server.stop()
    assert said.count("\n") >= 3


def test_its_tables_name_every_tensor_and_limit() -> None:
    for name, datatype, *_ in (*INPUTS, *OUTPUTS):
        assert re.search(rf"^\| `{name}` \| {datatype}\b", PAGE, re.MULTILINE), name
    assert f"at most {MAX_BATCH} go together" in PAGE
    assert f"`top_k` (1 to {MAX_TOP_K}, {TOP_K} if not given)" in PAGE
