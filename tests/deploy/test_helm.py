"""The Helm chart starts from the objects of deploy/base, and its values are the server's settings.

With a helm on the PATH the chart is linted and rendered; without one, what can be known without a renderer is checked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import service
from deploy import validate
from deploy.kustomizations import DEPLOY
from service.settings import SETTINGS, load_settings
from tests.deploy import objects

CHART = DEPLOY / "helm" / "carousel"
HELM = shutil.which("helm")
TEMPLATES = "".join(path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir()))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# What pods, services and other values say already.
NOT_SETTABLE = {
    "api_keys_file",
    "grpc_port",
    "host",
    "http_port",
    "metrics_port",
    "model",
    "store",
    "store_password_file",
}
OTHER_VALUES = {
    "image": {"repository": "registry.example/carousel", "tag": "2", "pullSecrets": [{"name": "registry"}]},
    "replicas": {"least": 3, "most": 9},
    "store": {"url": "valkey://valkey:6379/0", "passwordSecret": {"name": "valkey", "key": "password"}},
    "apiKeys": {"existingSecret": "callers", "key": "file-of-keys"},
    "settings": {"max_sessions": "20000", "retention": "30d"},
    "resources": {"limits": {"memory": "2Gi"}},
}


def check(values: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate({**VALUES, **values})


def test_it_starts_from_the_base_as_it_is_rendered() -> None:
    text = (CHART / "files" / "base.yaml").read_text(encoding="utf-8")
    assert list(validate.manifests(text, "the chart")) == list(objects.applied("base"))
    assert text.split("\n---\n")[0].startswith("apiVersion"), "the template splits it as it stands"


def test_its_versions_are_the_servers() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == service.__version__
    assert objects.container("base")["image"].endswith(f":{chart['appVersion']}")
    assert chart["kubeVersion"] == f">={validate.KUBERNETES_VERSION}.0-0"


def test_its_default_values_fit_its_schema_and_so_do_others() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    check({})
    check(OTHER_VALUES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"imag": {}},
        {"settings": {"max_sesions": "1"}},
        {"settings": {"max_sessions": 20000}},
        {"settings": {"store": "memory:"}},
        {"store": {"url": "sqlite:/file", "passwordSecret": {"name": "", "key": "password"}}},
        {"store": {"url": "valkey://user:secret@host/0", "passwordSecret": {"name": "", "key": "password"}}},
        {"apiKeys": {"existingSecret": "Not A Name", "key": "keys"}},
        {"apiKeys": {"existingSecret": "callers", "key": "no/key"}},
        {"apiKeys": {"existingSecret": "callers"}},
        {"replicas": {"least": 0, "most": 1}},
        {"resources": {"limits": {"memory": "much"}}},
    ],
    ids=str,
)
def test_values_that_would_be_ignored_or_refused_later_are_refused_by_the_schema(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


def test_its_settings_are_those_of_the_server() -> None:
    assert set(SCHEMA["properties"]["settings"]["propertyNames"]["enum"]) == set(SETTINGS) - NOT_SETTABLE


def test_every_value_that_the_templates_read_is_there() -> None:
    read = set(re.findall(r"[.$](?:V|v)alues\.([A-Za-z.]+)", TEMPLATES))
    assert read
    for path in read:
        found: Any = VALUES
        for key in path.split("."):
            assert key in found, path
            found = found[key]
    assert {path.partition(".")[0] for path in read} == set(VALUES), "a value that nobody reads is a promise"


def test_every_variable_that_the_templates_name_is_a_setting() -> None:
    named = set(re.findall(r"CAROUSEL_([A-Z_]+)\b", TEMPLATES))
    assert named
    assert {name.lower() for name in named} <= set(SETTINGS)


@pytest.mark.skipif(HELM is None, reason="helm, which renders the chart, is not on the PATH")
@pytest.mark.parametrize("values", [{}, OTHER_VALUES], ids=["default", "others"])
def test_helm_lints_it_and_renders_valid_objects(values: dict[str, Any], tmp_path: Any) -> None:
    assert HELM is not None
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    subprocess.run([HELM, "lint", "--strict", str(CHART), "--values", str(file)], check=True, timeout=60)
    command = [HELM, "template", "carousel", str(CHART), "--namespace", "carousel", "--values", str(file)]
    text = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout
    made = {(one["kind"], one["metadata"]["name"]): one for one in validate.manifests(text, "helm")}
    base = {(one["kind"], one["metadata"]["name"]): one for one in objects.applied("base")}
    assert made.keys() == base.keys() - {("Namespace", "carousel")}
    for manifest in made.values():
        validate.validate(manifest, "helm")
    (container,) = made["Deployment", "carousel"]["spec"]["template"]["spec"]["containers"]
    variables = objects.environment(container)
    settings = load_settings({name.removeprefix("CAROUSEL_").lower(): value for name, value in variables.items()})
    assert settings.store == values.get("store", VALUES["store"])["url"]
    for name, value in values.get("settings", {}).items():
        assert variables[f"CAROUSEL_{name.upper()}"] == value
    assert settings.api_keys_file == (Path("/etc/carousel/keys/keys") if values else None)
    if values:
        pod = made["Deployment", "carousel"]["spec"]["template"]["spec"]
        assert {volume["secret"]["secretName"] for volume in pod["volumes"]} == {"valkey", "callers"}
        assert [mount["name"] for mount in container["volumeMounts"]] == [one["name"] for one in pod["volumes"]]
    if not values:
        assert variables == objects.environment(objects.container("base"))
        assert container["resources"] == objects.container("base")["resources"]
