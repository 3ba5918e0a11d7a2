"""Triton's own client loads a version, sees both, asks each, and unloads the older one; over all of its forms."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kserve.driver import FORMS, NO_CLIENT, PYTHON, Driver, Form, Json, Refused, driving, text
from tests.integration.test_rollout import digest, put, rolling
from tests.unit.runtime.test_onnx_model import write_model

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)


async def index(driver: Driver, form: Form) -> list[tuple[str, str, str]]:
    found = await driver.ask(form, "get_model_repository_index")
    models: list[Json] = found.get("models", []) if isinstance(found, dict) else found
    return [(one["version"], one["state"], one.get("reason", "")) for one in models]


async def answered_by(driver: Driver, form: Form, version: str = "") -> tuple[str, str]:
    named: dict[str, Any] = {"model_version": version} if version else {}
    answer = await driver.infer(form, text("import o"), model_name="tiny", outputs=["TOP_TOKENS"], **named)
    return answer["version"], answer["parameters"]["model_digest"]


async def counted(driver: Driver, form: Form) -> dict[str, int]:
    found = await driver.ask(form, "get_inference_statistics", model_name="tiny")
    return {one["version"]: int(one.get("inference_count", 0)) for one in found["model_stats"]}


async def test_a_version_is_loaded_asked_and_unloaded(tmp_path: Path) -> None:
    versions = [write_model(tmp_path / str(weights), weights=weights) for weights in range(len(FORMS) + 1)]
    folder = Path(shutil.copytree(versions[0], tmp_path / "served"))
    async with rolling(folder, rollout_idle="1h") as rollout, driving(rollout.server) as driver:
        for before, form in enumerate(FORMS):
            old, new = str(before + 1), str(before + 2)
            await driver.infer(form, text("stays"), model_name="tiny", sequence_id=7, sequence_start=True)
            put(versions[before + 1], folder)
            await driver.ask(form, "load_model", model_name="tiny")
            await driver.ask(form, "load_model", model_name="tiny")  # it is there already
            told = (await index(driver, form))[-2:]
            assert [one[:2] for one in told] == [(old, "READY"), (new, "READY")]
            assert f"version {new} serves" in told[0][2] and not told[1][2]
            for version in (old, new):
                assert await driver.ask(form, "is_model_ready", model_name="tiny", model_version=version)
            assert await answered_by(driver, form) == await answered_by(driver, form, new)
            assert await answered_by(driver, form, old) == (old, digest(versions[before]))
            metadata = await driver.ask(form, "get_model_metadata", model_name="tiny")
            assert metadata["versions"] == [old, new]
            assert {number: count for number, count in (await counted(driver, form)).items() if number == new} == {
                new: 2
            }
            await driver.ask(form, "unload_model", model_name="tiny")
            await rollout.until_alone()
            assert (await index(driver, form))[-2:] == [(old, "UNAVAILABLE", "unloaded"), (new, "READY", "")]
            assert not await driver.ask(form, "is_model_ready", model_name="tiny", model_version=old)
            with pytest.raises(Refused, match=f"'tiny' version {old} is not found"):
                await answered_by(driver, form, old)
            gone_on = await driver.infer(form, text("!"), model_name="tiny", sequence_id=7)
            assert gone_on["version"] == new


ONCE: tuple[Form, ...] = ("http", "grpc")


async def test_what_is_refused_is_refused_in_triton_s_words(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "served")
    async with rolling(folder) as rollout, driving(rollout.server) as driver:
        for form in ONCE:
            with pytest.raises(Refused, match="failed to load 'other', failed to poll from model repository"):
                await driver.ask(form, "load_model", model_name="other")
            with pytest.raises(Refused, match="config"):
                await driver.ask(form, "load_model", model_name="tiny", config="{}")
            with pytest.raises(Refused, match="failed to unload 'tiny'"):
                await driver.ask(form, "unload_model", model_name="tiny")
        (folder / "manifest.json").write_text("{")
        for form in ONCE:
            with pytest.raises(Refused, match="load failed for model 'tiny'") as refused:
                await driver.ask(form, "load_model", model_name="tiny")
            assert refused.value.status in ("400", "StatusCode.INVALID_ARGUMENT")
            (serves, failed) = await index(driver, form)
            assert serves == ("1", "READY", "")
            assert failed[:2] == ("2", "UNAVAILABLE") and "manifest.json" in failed[2]


async def test_who_may_not_is_told_who_may(tmp_path: Path) -> None:
    async with rolling(write_model(tmp_path / "served"), model_admin="") as rollout, driving(rollout.server) as driver:
        for form in ONCE:
            for verb in ("load_model", "unload_model"):
                with pytest.raises(Refused, match="not allowed: start the server with --model-admin") as refused:
                    await driver.ask(form, verb, model_name="tiny")
                assert refused.value.status in ("403", "StatusCode.PERMISSION_DENIED")
