"""The alerts: of metrics and labels that the server has, with words on what to do; promtool tries them.

`make test-all` installs Debian's prometheus, which has promtool.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from service.errors import Code
from service.settings import ENVIRONMENT_PREFIX, SETTINGS
from service.telemetry.metrics import Metrics
from service.transport.grpc.calls import SERVICE
from tests.deploy import objects

HERE = Path(__file__).resolve().parent
ADDED = {"namespace", "pod", "le"}
"""Labels that a scrape and a histogram add to ours."""
STANDARD = {"process_resident_memory_bytes"}


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for group in objects.one("overlays/operated", "PrometheusRule")["spec"]["groups"]:
        found += group["rules"]
    return found


def queries() -> list[str]:
    """Everything in PromQL that is shipped."""
    triggers = objects.one("overlays/operated", "ScaledObject")["spec"]["triggers"]
    return [rule["expr"] for rule in rules()] + [one["metadata"]["query"] for one in triggers if one["type"] != "cpu"]


every_rule = pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])


def measured() -> dict[str, set[str]]:
    """Every metric of the server by its name in PromQL, with its labels."""
    made = Metrics()
    found: dict[str, set[str]] = {}
    for metric in vars(made).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        labels = set(metric._labelnames)
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(str(metric._type), [""])
        found |= {f"{metric._name}{ending}": labels for ending in endings}
    return found


@every_rule
def test_every_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Carousel")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["runbook"]) > 80
    named = set(re.findall(rf"{ENVIRONMENT_PREFIX}([A-Z_]+)", " ".join(rule["annotations"].values())))
    assert {name.lower() for name in named} <= set(SETTINGS)


@pytest.mark.parametrize("query", queries())
def test_every_query_is_of_metrics_and_labels_that_the_server_has(query: str) -> None:
    known = measured()
    named = set(re.findall(r"\b((?:carousel|process)_\w+)", query))
    assert named
    labels = {label for name in named - STANDARD for label in known[name]}
    asked = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~?|!=)", query))
    for inside in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query):
        asked |= {label.strip() for label in inside.split(",")}
    assert asked <= labels | ADDED


def test_every_code_and_operation_that_is_asked_for_can_be_counted() -> None:
    text = " ".join(queries())
    codes = set(re.findall(r'code="(\w+)"', text))
    operations = {one for found in re.findall(r'operation=~"([\w|]+)"', text) for one in found.split("|")}
    assert codes and operations
    assert codes <= {code.value for code in Code}
    assert operations <= set(SERVICE.methods_by_name)


def test_every_alert_is_tried_by_promtool_below() -> None:
    text = (HERE / "alerts.yaml").read_text(encoding="utf-8")
    assert {rule["alert"] for rule in rules()} == set(re.findall(r"\bCarousel\w+", text))


def test_memory_is_short_at_nine_tenths_of_the_limit() -> None:
    (rule,) = (rule for rule in rules() if rule["alert"] == "CarouselMemoryShort")
    limit = objects.mebibytes(objects.container("overlays/operated")["resources"]["limits"]["memory"])
    assert rule["expr"].endswith(f"> 0.9 * {limit} * 1024 * 1024")


def test_replicas_are_added_by_what_waits() -> None:
    (prometheus, _) = objects.one("overlays/operated", "ScaledObject")["spec"]["triggers"]
    assert "carousel_queue_depth" in prometheus["metadata"]["query"]
    rows = SETTINGS["max_batch_rows"].default
    assert float(prometheus["metadata"]["threshold"]) == rows / 2


def test_the_metrics_of_every_pod_are_scraped() -> None:
    monitor = objects.one("overlays/operated", "PodMonitor")["spec"]
    labels = objects.server("overlays/operated")["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"] == labels
    ((endpoint),) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in objects.ports(objects.container("overlays/operated"))


@pytest.mark.slow
def test_promtool_takes_the_alerts_and_they_tell_what_they_should_and_nothing_else(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.fail("please install promtool: apt-get install prometheus")
    groups = objects.one("overlays/operated", "PrometheusRule")["spec"]
    file, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(groups), encoding="utf-8")
    tests.write_text((HERE / "alerts.yaml").read_text(encoding="utf-8").replace("RULES", str(file)), encoding="utf-8")
    for command in (["check", "rules", str(file)], ["test", "rules", str(tests)]):
        result = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
