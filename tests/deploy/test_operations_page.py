"""docs/operations.md says what is so: its tables are compared with the settings, the metrics and the manifests."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from service.settings import ENVIRONMENT_PREFIX, SETTINGS
from service.telemetry.metrics import Metrics
from service.telemetry.tensor_metrics import show_tensors

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def settings_row(name: str) -> str:
    """The row of the settings table that the code gives."""
    about = SETTINGS[name]
    flag = f"--{name.replace('_', '-')}"
    if about.made:
        default = about.made
    elif about.default in (None, (), ""):
        default = "none"
    elif isinstance(about.default, bool):
        default = "on" if about.default else "off"
    else:
        default = f"`{about.default}`"
    return f"| `{flag}` | `{ENVIRONMENT_PREFIX}{name.upper()}` | {default} | {about.description} |"


def test_the_settings_table_has_exactly_the_settings() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `--") and ENVIRONMENT_PREFIX in line]
    expected = [settings_row(name) for name in SETTINGS]
    assert rows == expected, "the table should read:\n" + "\n".join(expected)


def test_every_metric_that_the_page_names_is_measured() -> None:
    metrics = Metrics()
    show_tensors(metrics, (), held=lambda: 0, state_bytes=lambda: 0)  # of a server with such models
    families = list(metrics.registry.collect())
    measured = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    named = set(re.findall(r"`(carousel_\w+)`", PAGE))
    assert named
    assert named <= measured


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:deploy|docs|models|service)/[\w./-]+)`", PAGE)
    named += [f"docs/{target}" for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)]
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_ports_and_the_time_to_end_are_those_of_the_manifests() -> None:
    deployment = yaml.safe_load((ROOT / "deploy/base/deployment.yaml").read_text(encoding="utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    for port in pod["containers"][0]["ports"]:
        assert re.search(rf"\| {port['name']} .*\| {port['containerPort']} \|", PAGE, flags=re.IGNORECASE)
    assert f"`terminationGracePeriodSeconds: {pod['terminationGracePeriodSeconds']}`" in PAGE
