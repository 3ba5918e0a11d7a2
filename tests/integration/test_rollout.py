"""A new version of a model while people type: over real sockets, from real folders, with restarts in between."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.loading import ModelFolder
from service.runtime.onnx_model import load_model
from service.settings import ModelConfig
from tests.integration.callers import Shown, calling
from tests.integration.servers import Running, make_server
from tests.integration.test_process import FREE_PORTS, started
from tests.unit.runtime.test_onnx_model import write_leaky_model, write_model

SUGGEST = {"count": 2, "max_bytes": 12, "stop": "none"}
AT_ONCE = {"rollout_idle": "0.05s", "model_admin": "default"}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of three versions of one model."""
    made = tmp_path_factory.mktemp("versions")
    return [write_model(made / str(weights), weights=weights) for weights in range(3)]


@pytest.fixture
def folder(tmp_path: Path, versions: list[Path]) -> Path:
    """The folder that a server serves, with the first version in it."""
    return Path(shutil.copytree(versions[0], tmp_path / "served"))


def put(version: Path, folder: Path) -> None:
    """Have the folder hold another version, its manifest last."""
    for file in sorted(version.iterdir(), key=lambda file: file.name == "manifest.json"):
        shutil.copyfile(file, folder / (file.name + ".new"))
        (folder / (file.name + ".new")).replace(folder / file.name)


def digest(folder: Path) -> str:
    return ModelFolder(config_of(folder)).manifest().digest()


def config_of(folder: Path) -> ModelConfig:
    return ModelConfig(folder, None, 1, allow_batch_dependent=False)


@dataclass
class Rolling:
    """A server of one folder, and the model that it has begun with."""

    server: Running
    http: httpx.AsyncClient
    begun_with: list[weakref.ref[Any]]

    async def index(self) -> list[tuple[str, str, str]]:
        answer = (await self.http.post("/v2/repository/index")).json()
        return [(one["version"], one["state"], one["reason"]) for one in answer]

    async def load(self) -> httpx.Response:
        return await self.http.post("/v2/repository/models/tiny/load")

    async def metrics(self) -> str:
        return (await self.http.get(self.server.metrics)).text

    async def until(self, there: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
        """Ask until it is so."""
        end_s = time.monotonic() + seconds
        while not await there():
            assert time.monotonic() < end_s, await self.index()

    async def until_alone(self) -> None:
        """Wait until one version is loaded."""

        async def alone() -> bool:
            states = [state for _, state, _ in await self.index()]
            return states.count("READY") == 1 and "UNLOADING" not in states

        await self.until(alone)


@asynccontextmanager
async def rolling(folder: Path, source: ModelFolder | None = None, **flags: Any) -> AsyncIterator[Rolling]:
    model = load_model(folder)
    flags = {name: value for name, value in {**AT_ONCE, **flags}.items() if value != ""}
    server = make_server(
        models=[(model, model.identity)], sources={"tiny": source or ModelFolder(config_of(folder))}, **flags
    )
    held = [weakref.ref(model._sessions.several)]
    del model
    addresses = await server.start()
    assert server._rollout is not None
    held.append(weakref.ref(server._rollout._models["tiny"].newest.engine._tree.top_tokens))
    running = Running(server, addresses)
    try:
        async with httpx.AsyncClient(base_url=running.http, verify=False) as http:
            yield Rolling(running, http, held)
    finally:
        await server.stop()


async def fresh(folder: Path, text: str) -> tuple[str, ...]:
    """What a session that begins on a server of this folder is suggested."""
    async with rolling(folder) as alone, calling("grpc", alone.server) as caller:
        return suggested(await caller.create(text=text, suggest=SUGGEST))


def suggested(shown: Shown) -> tuple[str, ...]:
    return tuple(f"{one.text} {one.probability!r}" for one in shown.suggestions)


async def test_typing_goes_on_while_a_version_comes_and_who_was_idle_goes_over(
    folder: Path, versions: list[Path]
) -> None:
    old, new = digest(versions[0]), digest(versions[1])
    expected = await fresh(versions[1], "def main(x")
    async with (
        rolling(folder, rollout_idle="1s") as rollout,
        calling("type", rollout.server) as typist,
        calling("rest", rollout.server) as rest,
    ):
        idle = await rest.create(text="def main(", suggest=SUGGEST)
        typing = await typist.create(text="", suggest=SUGGEST)
        assert idle.model[1] == typing.model[1] == old
        ended = asyncio.Event()

        async def type_on() -> list[Shown]:
            shown, answers = typing, []
            while not ended.is_set():
                shown = await typist.edit(shown.id, shown.revision, [{"insert": "a"}], suggest=SUGGEST)
                answers.append(shown)
            return answers

        keys = asyncio.create_task(type_on())
        put(versions[1], folder)
        assert (await rollout.load()).status_code == 200
        index = await rollout.index()
        assert [(number, state) for number, state, _ in index] == [("1", "READY"), ("2", "READY")]
        assert "version 2 serves" in index[0][2] and index[1][2] == ""
        begun = await rest.create(text="def main(", suggest=SUGGEST)
        assert begun.model[1] == new

        async def moved() -> bool:
            return f'carousel_model_paths{{digest="{new}",model="tiny"}} 2.0' in await rollout.metrics()

        await rollout.until(moved)
        again = await rest.edit(idle.id, idle.revision, [{"insert": "x"}], suggest=SUGGEST)
        assert (again.revision, again.model[1]) == (idle.revision + 1, new)
        assert suggested(again) == expected
        assert [state for _, state, _ in await rollout.index()] == ["READY", "READY"], "somebody types on the old one"
        ended.set()
        answers = await asyncio.wait_for(keys, 20)
        assert len(answers) > 3
        assert [answer.revision for answer in answers] == list(range(2, 2 + len(answers)))
        assert {answer.model[1] for answer in answers} == {old}
        assert all(answer.suggestions for answer in answers[-3:])
        await rollout.until_alone()
        assert await rollout.index() == [("1", "UNAVAILABLE", "unloaded"), ("2", "READY", "")]
        last = await typist.edit(typing.id, answers[-1].revision, [{"insert": "b"}], suggest=SUGGEST)
        assert last.model[1] == new
        assert suggested(last) == await fresh(versions[1], "a" * len(answers) + "b")


@pytest.fixture
def no_collection() -> Iterator[None]:
    """As in a server, which takes what it has at its start out of the collector's sight."""
    gc.disable()
    yield
    gc.enable()


def our_threads() -> list[str]:
    """Their names, but for the loader's, which waits for the next version. asyncio's own come as they are needed."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith("carousel-") and not name.startswith("carousel-loading"))


@pytest.mark.usefixtures("no_collection")
async def test_of_the_version_that_goes_nothing_is_left(folder: Path, versions: list[Path]) -> None:
    async with rolling(folder) as rollout, calling("grpc", rollout.server) as caller:
        threads = our_threads()
        for text in ("import os", "x" * 5000):
            await caller.create(text=text, suggest=SUGGEST)
        put(versions[1], folder)
        assert (await rollout.load()).status_code == 200
        await rollout.until_alone()
        assert [one() for one in rollout.begun_with] == [None, None], "its weights, its states"
        assert our_threads() == threads, "one has begun, and one has ended"
        metrics = await rollout.metrics()
        assert digest(versions[1]) in metrics and digest(versions[0]) not in metrics
        assert 'carousel_model_loads_total{model="tiny",result="loaded"} 1.0' in metrics
        assert f'carousel_model_paths{{digest="{digest(versions[1])}",model="tiny"}} 2.0' in metrics


async def test_a_budget_that_one_version_has_used_up_has_room_for_another(folder: Path, versions: list[Path]) -> None:
    async with rolling(folder, state_budget="256KiB") as rollout, calling("grpc", rollout.server) as caller:
        generator = np.random.default_rng(0)
        for _ in range(8):
            await caller.create(text=bytes(generator.integers(97, 123, 900, np.uint8)).decode(), suggest=SUGGEST)
        put(versions[1], folder)
        assert (await rollout.load()).status_code == 200
        shown = await caller.create(text="import os", suggest=SUGGEST)
        assert suggested(shown) == await fresh(versions[1], "import os")
        await rollout.until_alone()


@pytest.mark.parametrize(
    "fault", ["torn", "changed", "half a manifest", "renamed", "smaller vocabulary", "leaky", "gone"]
)
async def test_what_cannot_be_served_leaves_everything_as_it_is_and_says_why(
    folder: Path, versions: list[Path], tmp_path: Path, log: io.StringIO, fault: str
) -> None:
    said_before = log.tell()
    async with rolling(folder) as rollout, calling("grpc", rollout.server) as caller:
        shown = await caller.create(text="import o", suggest=SUGGEST)
        why = spoil(fault, folder, versions[1], tmp_path)
        refused = await rollout.load()
        assert refused.status_code == 400
        assert "load failed for model 'tiny'" in refused.json()["error"] and why in refused.json()["error"]
        (serves, failed) = await rollout.index()
        assert serves == ("1", "READY", "")
        assert failed[:2] == ("2", "UNAVAILABLE") and why in failed[2]
        assert (await rollout.http.get("/readyz")).status_code == 200
        after = await caller.edit(shown.id, shown.revision, [{"insert": "s"}], suggest=SUGGEST)
        assert after.model[1] == digest(versions[0]) and after.suggestions
        assert 'carousel_model_loads_total{model="tiny",result="failed"} 1.0' in await rollout.metrics()
        entries = [json.loads(line) for line in log.getvalue()[said_before:].splitlines()]
        assert [why in entry["cause"] for entry in entries if "cannot be served" in entry["event"]] == [True]
        put(versions[1], folder)
        assert (await rollout.load()).status_code == 200
        assert (await rollout.index())[1] == ("2", "READY", "")


def spoil(fault: str, folder: Path, version: Path, tmp_path: Path) -> str:
    """Put a version into the folder that cannot be served; a part of what is said of it."""
    if fault == "gone":
        shutil.rmtree(folder)
        folder.mkdir()
        return "is not a model folder"
    put(write_leaky_model(tmp_path / "leaky") if fault == "leaky" else version, folder)
    graph, manifest = folder / "model.int8.onnx", folder / "manifest.json"
    match fault:
        case "torn":
            graph.write_bytes(graph.read_bytes()[:-100])
            return "export the model again"
        case "changed":
            graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
            return "has sha256"
        case "half a manifest":
            manifest.write_text(manifest.read_text()[:-200])
            return "manifest.json"
        case "renamed":
            manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "other"}))
            return "holds 'other'"
        case "smaller vocabulary":
            manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "vocabulary_size": 200}))
            return "vocabulary is 200"
    return "DynamicQuantizeLSTM"


async def test_a_folder_that_is_watched_is_loaded_once_it_is_whole_and_not_before(
    folder: Path, versions: list[Path], log: io.StringIO
) -> None:
    said_before = log.tell()
    source = Watched(folder)
    async with rolling(folder, source, watch_models="0.05s", model_admin="") as rollout:
        await source.some_looks()
        assert await rollout.index() == [("1", "READY", "")]
        whole = (versions[1] / "model.int8.onnx").read_bytes()
        shutil.copyfile(versions[1] / "manifest.json", folder / "manifest.json")
        with (folder / "model.int8.onnx").open("wb") as half:
            half.write(whole[: len(whole) // 2])
            half.flush()
            await source.some_looks()
            assert [(number, state) for number, state, _ in await rollout.index()] == [
                ("1", "READY"),
                ("2", "UNAVAILABLE"),
            ]
            half.write(whole[len(whole) // 2 :])
        shutil.copyfile(versions[1] / "model.onnx", folder / "model.onnx")

        async def there() -> bool:
            return ("2", "READY", "") in await rollout.index()

        await rollout.until(there)
        entries = [json.loads(line)["event"] for line in log.getvalue()[said_before:].splitlines()]
        assert 1 <= sum("cannot be served" in event for event in entries) <= 3, "not once a look"
        assert (await rollout.load()).status_code == 403


class Watched(ModelFolder):
    """A folder that counts how often it was looked at."""

    def __init__(self, folder: Path) -> None:
        super().__init__(config_of(folder))
        self._loop, self._looked = asyncio.get_running_loop(), asyncio.Semaphore(0)

    def signature(self) -> Hashable:
        self._loop.call_soon_threadsafe(self._looked.release)
        return super().signature()

    async def some_looks(self) -> None:
        """Wait for five."""
        for _ in range(5):
            await asyncio.wait_for(self._looked.acquire(), 20)


async def test_a_rollback_is_at_once_while_the_old_version_is_there_and_loads_it_when_not(
    folder: Path, versions: list[Path]
) -> None:
    async with rolling(folder, rollout_idle="1h") as rollout, calling("grpc", rollout.server) as caller:
        stays = await caller.create(text="import o", suggest=SUGGEST)
        put(versions[1], folder)
        await rollout.load()
        goes = await caller.create(text="import o", suggest=SUGGEST)
        put(versions[0], folder)
        await rollout.load()
        assert [(number, state) for number, state, _ in await rollout.index()] == [("1", "READY"), ("2", "READY")]
        assert (await caller.create(text="a")).model[1] == stays.model[1] != goes.model[1]
        assert (await rollout.http.post("/v2/repository/models/tiny/unload")).status_code == 200
        await rollout.until_alone()
        assert await rollout.index() == [("1", "READY", ""), ("2", "UNAVAILABLE", "unloaded")]
        ready = (await rollout.http.post("/v2/repository/index", json={"ready": True})).json()
        assert [one["version"] for one in ready] == ["1"]
        back = await caller.edit(goes.id, goes.revision, [{"insert": "s"}], suggest=SUGGEST)
        assert suggested(back) == await fresh(versions[0], "import os")
        put(versions[1], folder)
        await rollout.load()
        assert [(number, state) for number, state, _ in await rollout.index()] == [("1", "READY"), ("2", "READY")]


async def test_a_stored_session_goes_on_with_whatever_version_there_is_after_a_restart(
    folder: Path, versions: list[Path], tmp_path: Path
) -> None:
    store = f"sqlite:{tmp_path / 'sessions.sqlite'}"
    text = "for name in names:\n    " * 60
    async with rolling(folder, store=store) as rollout, calling("rest", rollout.server) as caller:
        shown = await caller.create(text=text, suggest=SUGGEST)
        put(versions[1], folder)
        await rollout.load()
    expected = [digest(version) for version in versions]
    async with rolling(folder, store=store) as rollout, calling("rest", rollout.server) as caller:
        shown = await caller.edit(shown.id, shown.revision, [{"insert": "p"}], suggest=SUGGEST, edit_id="e1")
        assert shown.model[1] == expected[1]
        assert suggested(shown) == await fresh(versions[1], text + "p")
        put(versions[2], folder)
        await rollout.load()
        await rollout.until_alone()
        again = await caller.edit(shown.id, shown.revision - 1, [{"insert": "p"}], edit_id="e1")
        assert (again.revision, again.model[1]) == (shown.revision, expected[2])
        shown = await caller.edit(shown.id, shown.revision, [{"delete": 1}], suggest=SUGGEST)
        assert suggested(shown) == await fresh(versions[2], text)
    put(versions[0], folder)
    async with rolling(folder, store=store) as rollout, calling("rest", rollout.server) as caller:
        shown = await caller.edit(shown.id, shown.revision, [{"insert": "q"}], suggest=SUGGEST)
        assert (shown.revision, shown.model[1]) == (4, expected[0])
        assert suggested(shown) == await fresh(versions[0], text + "q")


async def test_an_older_version_answers_who_asks_for_it_by_number_or_digest(folder: Path, versions: list[Path]) -> None:
    async with rolling(folder, rollout_idle="1h") as rollout, calling("grpc", rollout.server) as caller:
        await caller.create(text="keeps it")
        put(versions[1], folder)
        await rollout.load()
        body = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["import o"]}]}
        found = {}
        for version in ("", "1", "2", digest(versions[0]), digest(versions[1])[:8]):
            path = f"/v2/models/tiny/versions/{version}/infer" if version else "/v2/models/tiny/infer"
            answer = (await rollout.http.post(path, json=body)).json()
            found[version] = (answer["model_version"], answer["parameters"]["model_digest"], str(answer["outputs"]))
        assert found["1"] == found[digest(versions[0])] != found["2"]
        assert found[""] == found["2"] == found[digest(versions[1])[:8]]
        assert [found[number][:2] for number in "12"] == [(str(n), digest(versions[n - 1])) for n in (1, 2)]
        assert (await rollout.http.get("/v2/models/tiny")).json()["versions"] == ["1", "2"]
        assert (await rollout.http.get("/v2/models/tiny/versions/1/ready")).status_code == 200
        assert (await rollout.http.get("/v2/models/tiny/versions/3/ready")).status_code == 400
        assert (await rollout.http.post("/v2/models/tiny/versions/3/infer", json=body)).status_code == 404
        stats = (await rollout.http.get("/v2/models/tiny/stats")).json()["model_stats"]
        assert [(one["version"], one["inference_count"]) for one in stats] == [("1", 2), ("2", 3)]
        asked = {"text": "import o", "model": f"tiny@{digest(versions[0])[:12]}"}
        scored = [
            (await rollout.http.post("/v1/score", json={**asked, "model": one})).json()
            for one in (asked["model"], "tiny")
        ]
        assert [one["model"]["digest"] for one in scored] == [digest(version) for version in versions[:2]]
        assert scored[0]["bits_per_byte"] != scored[1]["bits_per_byte"]
        unknown = await rollout.http.post("/v1/score", json={**asked, "model": "tiny@00000000"})
        assert unknown.status_code == 404 and f"tiny@{digest(versions[1])}" in unknown.json()["detail"]


async def test_a_sequence_stays_in_its_version_and_says_so_to_who_names_another(
    folder: Path, versions: list[Path]
) -> None:
    async with rolling(folder, rollout_idle="1h") as rollout:

        async def send(piece: str, version: str = "", **flags: bool) -> httpx.Response:
            path = f"/v2/models/tiny/versions/{version}/infer" if version else "/v2/models/tiny/infer"
            text = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [piece]}
            return await rollout.http.post(path, json={"inputs": [text], "parameters": {"sequence_id": 7, **flags}})

        assert (await send("import ", sequence_start=True)).json()["model_version"] == "1"
        put(versions[1], folder)
        await rollout.load()
        assert (await send("o")).json()["model_version"] == "1"
        assert (await send("s", "1")).json()["model_version"] == "1"
        refused = await send(".", "2")
        assert refused.status_code == 400 and "another version" in refused.json()["error"]
        refused = await send("a", "1", sequence_start=True)
        assert refused.status_code == 400 and "begins in version 2" in refused.json()["error"]
        assert (await send("a", sequence_start=True)).json()["model_version"] == "2"


async def test_only_the_admin_s_tenant_may_load(folder: Path) -> None:
    async with rolling(folder, model_admin="") as rollout:
        refused = await rollout.load()
        assert refused.status_code == 403 and "--model-admin TENANT" in refused.json()["error"]
    async with rolling(folder, model_admin="ops", trust_tenant_header=True) as rollout:
        for tenant, status in (("default", 403), ("team", 403), ("ops", 200)):
            headers = {"x-carousel-tenant": tenant}
            answer = await rollout.http.post("/v2/repository/models/tiny/load", headers=headers)
            assert answer.status_code == status
            if status == 403:
                assert "the tenant in --model-admin" in answer.json()["error"]


async def test_what_a_load_cannot_do_is_refused_by_name(folder: Path) -> None:
    async with rolling(folder) as rollout:
        refused = await rollout.http.post("/v2/repository/models/other/load")
        assert refused.status_code == 400 and "there are: tiny" in refused.json()["error"]
        refused = await rollout.http.post("/v2/repository/models/tiny/load", json={"parameters": {"config": "{}"}})
        assert refused.status_code == 400 and "config" in refused.json()["error"]
        refused = await rollout.http.post("/v2/repository/models/tiny/unload")
        assert refused.status_code == 400 and "no older version" in refused.json()["error"]


def test_a_hangup_loads_what_is_new_in_a_process_that_is_served_for_real(folder: Path, versions: list[Path]) -> None:
    flags = ("--model", str(folder), "--log-format", "json", "--rollout-idle", "0.05", *FREE_PORTS)
    with started("-m", "service.cli", "serve", *flags) as server:
        serving = json.loads(server.lines[-1])
        url = f"http://127.0.0.1:{serving['http_port']}"
        body = {"text": "import o", "suggest": SUGGEST}
        begun = httpx.post(f"{url}/v1/sessions", json=body).json()
        threads = len(list(Path(f"/proc/{server.popen.pid}/task").iterdir()))
        put(versions[1], folder)
        server.popen.send_signal(1)
        server.read_until("an older version of a model was unloaded")
        assert len(list(Path(f"/proc/{server.popen.pid}/task").iterdir())) <= threads + 1
        edit = {"revision": 1, "edits": [{"insert": "s"}], "suggest": SUGGEST}
        shown = httpx.post(f"{url}/v1/sessions/{begun['id']}/edits", json=edit).json()
        assert shown["model"]["digest"] == digest(versions[1])
        assert server.end() == 0
