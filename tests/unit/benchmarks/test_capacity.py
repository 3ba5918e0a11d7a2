"""docs/capacity.md and its arithmetic: the page is what the recorded costs come to, and the limits are deploy/'s."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.capacity.command import costs_of
from benchmarks.capacity.costs import BASE, SQLITE, VARIANTS, Costs, KeystrokeCosts, SessionCosts, WireCosts
from benchmarks.capacity.needs import Assumptions, kept_bytes, limits, needs, parts, scenarios
from benchmarks.capacity.page import PAGE, with_tables
from benchmarks.cli import app
from benchmarks.report import RESULTS, BenchmarkError

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
GIVEN = Assumptions()


def keystroke(*, server_s: float = 0.001, store_s: float = 0.00005) -> KeystrokeCosts:
    return KeystrokeCosts(
        server_s=server_s,
        model_s=0.0004,
        steps=5.0,
        store_s=store_s,
        store_operations=1.0,
        store_bytes_in=350.0,
        store_bytes_out=9.0,
        appended_bytes=400.0,
        p50_ms=3.0,
        p99_ms=9.0,
        people=160,
        most_per_s=1500.0,
        undisturbed=1.0,
        client_cpu_share=0.1,
    )


COSTS = Costs(
    {name: keystroke(store_s=0.0 if about.store == "sqlite" else 0.00005) for name, about in VARIANTS.items()},
    SessionCosts(
        text_bytes=2_000, resident_bytes=3_000.0, state_bytes=5_000.0, store_bytes=9_000.0, file_bytes=9_500.0
    ),
    WireCosts(bytes_in=40.0, bytes_out=250.0, segments_in=2.0, segments_out=1.5),
    proxy_s=0.0001,
    server_bytes=180 * 2.0**20,
    budget_bytes=256 * 2.0**20,
)


def test_the_page_holds_what_the_recorded_costs_come_to() -> None:
    costs, where = costs_of(ROOT / RESULTS)
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert with_tables(page, costs, GIVEN, where) == page, "write it anew: carousel bench capacity --recorded --write"
    assert f"| {needs(costs, BASE, GIVEN).replicas:,}" in page


def test_a_page_that_lacks_a_table_or_has_one_too_many_is_refused() -> None:
    costs, where = costs_of(ROOT / RESULTS)
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    for broken in (page.replace("computed: limits", "computed: nothing"), page.replace("<!-- computed: parts -->", "")):
        with pytest.raises(BenchmarkError, match=r"docs/capacity.md has the blocks"):
            with_tables(broken, costs, GIVEN, where)


def test_every_figure_of_the_page_outside_of_its_tables_is_an_assumption() -> None:
    page = re.sub(r"<!-- computed.*?<!-- end -->", "", (ROOT / PAGE).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "4.3" in page and f"{GIVEN.keystrokes_per_s:g}" == "4.3"
    assert not re.search(r"\d+ (?:us|MiB|GiB|Gbit)", page)


def test_a_keystroke_of_a_millisecond_is_a_core_for_a_thousand_of_them() -> None:
    base = needs(COSTS, BASE, replace(GIVEN, people=10_000, keystrokes_per_s=5.0, utilization=0.5))
    assert base.keystrokes_per_s == 50_000
    assert base.server_cores == pytest.approx(50)
    assert base.model_cores == pytest.approx(20)
    assert (base.replicas, base.people_per_replica) == (100, 100)
    assert base.store_cores == pytest.approx(2.5)
    assert base.proxies == 10
    assert base.callers_in_bits_per_s == pytest.approx(50_000 * 8 * (40 + 2 * 66))
    assert base.replica_bytes == pytest.approx((180 + 256) * 2**20 + 100 * 3_000)
    assert base.states_per_person == pytest.approx(256 * 2**20 / (100 * 5_000))
    assert kept_bytes(COSTS, GIVEN) == 9_000 - 2_000 + GIVEN.text_bytes


def test_with_a_file_in_each_replica_there_is_no_valkey_to_fill() -> None:
    alone = needs(COSTS, SQLITE, GIVEN)
    assert (alone.stores, alone.store_bytes, alone.store_bits_per_s) == (0, 0.0, 0.0)
    assert "a Valkey" not in {limit.unit for limit in limits(COSTS, GIVEN, SQLITE)}


def test_what_is_full_first_comes_first_by_what_is_shipped_of_it() -> None:
    found = limits(COSTS, GIVEN)
    assert [limit.people_shipped for limit in found] == sorted(limit.people_shipped for limit in found)
    fast = replace(COSTS, keystroke={**COSTS.keystroke, BASE: keystroke(store_s=0.000001)})
    assert limits(COSTS, GIVEN)[0].full == "its core" and limits(COSTS, GIVEN)[0].unit == "a replica"
    assert [limit.full for limit in limits(fast, GIVEN) if limit.unit == "a Valkey"] == ["its memory", "its core"]
    slow = replace(COSTS, keystroke={**COSTS.keystroke, BASE: keystroke(store_s=0.01)})
    assert limits(slow, GIVEN)[0].unit == "a Valkey"


@given(
    people=st.integers(1, 10**8),
    pace=st.floats(0.1, 20),
    share=st.floats(0.01, 1),
    server_s=st.floats(1e-5, 1e-1),
)
def test_more_people_never_need_less(people: int, pace: float, share: float, server_s: float) -> None:
    costs = replace(COSTS, keystroke={**COSTS.keystroke, BASE: keystroke(server_s=server_s)})
    few = replace(GIVEN, people=people, keystrokes_per_s=pace, typing=share)
    one, two = needs(costs, BASE, few), needs(costs, BASE, replace(few, people=2 * people))
    for name in ("replicas", "stores", "proxies", "server_cores", "store_bytes", "callers_out_bits_per_s"):
        assert getattr(two, name) >= getattr(one, name)
    assert two.replicas <= 2 * one.replicas
    assert one.server_cores <= one.replicas * few.utilization * (1 + 1e-9)
    for made in scenarios(costs, few).values():
        assert made.replicas >= 1


def test_the_parts_of_a_keystroke_are_all_of_it() -> None:
    base = COSTS.keystroke[BASE]
    assert sum(parts(COSTS).values()) == pytest.approx(base.server_s + base.store_s + COSTS.proxy_s)


def test_costs_are_the_same_when_they_come_back_from_their_file(tmp_path: Path) -> None:
    assert Costs.of_json(json.loads(json.dumps(COSTS.as_json()))) == COSTS
    with pytest.raises(BenchmarkError, match="without --recorded"):
        costs_of(tmp_path)


def test_the_limits_are_those_of_what_is_shipped() -> None:
    envoy = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    (monitor,) = envoy["overload_manager"]["resource_monitors"]
    assert monitor["typed_config"]["max_active_downstream_connections"] == GIVEN.proxy_connections
    valkey = (DEPLOY / "components" / "valkey" / "valkey.conf").read_text(encoding="utf-8")
    assert f"maxmemory {GIVEN.store_limit_bytes >> 20}mb" in valkey
    scaled = yaml.safe_load((DEPLOY / "components" / "keda" / "scaled-object.yaml").read_text(encoding="utf-8"))
    assert scaled["spec"]["maxReplicaCount"] == GIVEN.most_replicas
    base = yaml.safe_load((DEPLOY / "base" / "autoscaler.yaml").read_text(encoding="utf-8"))
    assert base["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == round(100 * GIVEN.utilization)
    rendered = (DEPLOY / "base" / "deployment.yaml").read_text(encoding="utf-8")
    assert f'"{costs_of(ROOT / RESULTS)[0].budget_bytes:.0f}"' in rendered


def test_recorded_costs_answer_for_other_people_without_measuring() -> None:
    asked = ["capacity", "--recorded", "--out", str(ROOT / RESULTS), "--people", "50", "--pace", "1", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert (figures["keystrokes_per_s"], figures["replicas"], figures["valkeys"]) == (50, 1, 1)
    missing = CliRunner().invoke(app, ["capacity", "--recorded", "--out", "/nowhere"])
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
