"""The Dockerfile keeps its promises: one base, a number for a user, settings that exist, nothing of training."""

from __future__ import annotations

import fnmatch
import json

import pytest
import yaml

from service.settings import ENVIRONMENT_PREFIX, SETTINGS, load_settings
from tests.deploy.dockerfile import ROOT, environment, instructions, stages

BUILD, FINAL = stages()


def arguments_of(name: str, stage: list[tuple[str, str]]) -> list[str]:
    return [arguments for found, arguments in stage if found == name]


def test_both_stages_start_from_one_base_that_the_builder_may_replace() -> None:
    assert instructions()[0][0] == "ARG"
    name, _, default = instructions()[0][1].partition("=")
    assert arguments_of("FROM", BUILD) == [f"${{{name}}} AS build"]
    assert arguments_of("FROM", FINAL) == [f"${{{name}}}"]
    assert not default.endswith(":latest")
    assert default.count(".") == 2, "a full Python version, so that two builds start alike"


def test_the_last_stage_runs_nothing_and_takes_only_the_environment_and_the_model() -> None:
    assert not arguments_of("RUN", FINAL)
    assert arguments_of("COPY", FINAL) == ["--from=build /opt/carousel /opt/carousel", "models/python /models/python"]


def test_it_runs_as_the_number_that_the_deployment_names() -> None:
    deployment = yaml.safe_load((ROOT / "deploy/base/deployment.yaml").read_text(encoding="utf-8"))
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert arguments_of("USER", FINAL) == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert context["runAsUser"] >= 10000


def test_its_variables_are_settings_that_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {name: value for name, value in environment(FINAL).items() if name.startswith(ENVIRONMENT_PREFIX)}
    assert {name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in ours} <= SETTINGS.keys()
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({})
    assert settings.host == "0.0.0.0"
    assert settings.store == "memory:"
    assert str(settings.default_model) == arguments_of("COPY", FINAL)[-1].split()[-1]
    assert environment(FINAL)["ORT_DISABLE_TELEMETRY"] == "1"
    ports = [settings.grpc_port, settings.http_port, settings.metrics_port]
    assert arguments_of("EXPOSE", FINAL) == [" ".join(map(str, ports))]


def test_it_starts_the_command_that_the_distribution_installs() -> None:
    assert json.loads(arguments_of("ENTRYPOINT", FINAL)[0]) == ["carousel"]
    assert json.loads(arguments_of("CMD", FINAL)[0]) == ["serve"]
    assert arguments_of("STOPSIGNAL", FINAL) == ["SIGTERM"]
    assert "/readyz" in arguments_of("HEALTHCHECK", FINAL)[0]


def test_every_install_is_pinned_and_leaves_no_secret() -> None:
    installs = [command for command in arguments_of("RUN", BUILD) if " install " in command]
    assert len(installs) == 2
    for command in installs:
        assert "--constraint constraints.txt" in command or "--no-index" in command
        assert command.count("--mount=type=secret") == 2
    assert not arguments_of("ARG", BUILD) + arguments_of("ARG", FINAL), "an argument would be kept in the history"


def test_all_that_it_copies_passes_the_dockerignore() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    passed = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [
        source
        for stage in (BUILD, FINAL)
        for arguments in arguments_of("COPY", stage)
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]
    for source in copied:
        assert any(rule == source or rule.startswith(f"{source}/") for rule in passed), source
    assert not [rule for rule in passed if fnmatch.fnmatch("tests", rule) or fnmatch.fnmatch(".git", rule)]
