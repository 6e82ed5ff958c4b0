"""Dashboards and alert rules: they can be read, and every metric that they name is one of ours, with labels that it has."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping

import pytest
import yaml

from house.tree import ROOT
from houyi.agent.counts import Counts
from houyi.agent.vm_metrics import PRESSURE
from houyi.host.shell import run
from houyi.planning.vm_metrics import FAMILIES

GRAFANA, PROMETHEUS = ROOT / "deploy" / "grafana", ROOT / "deploy" / "prometheus"
FROM_PROMETHEUS = {"instance", "job"}
_METRIC = re.compile(r"\b(houyi_[a-z0-9_]+)\s*(?:\{([^}]*)\})?")
_LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
_BY = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")


def known() -> Mapping[str, set[str]]:
    """Name -> labels."""
    found = {one.name: {"vm", "host", *one.labels} for one in FAMILIES}
    found[PRESSURE] = {"resource", "kind"}
    for family in Counts().registry.collect():
        suffixes = ("_total",) if family.type == "counter" else ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
        found |= {f"{family.name}{suffix}": {"state", "step", "code"} for suffix in suffixes}
    return found | {name: {"state"} for name in ("houyi_vms", "houyi_hosts", "houyi_operations_open")}


def rules() -> Iterator[Mapping[str, object]]:
    for group in yaml.safe_load((PROMETHEUS / "houyi-alerts.yml").read_text())["groups"]:
        yield from group["rules"]


def expressions() -> list[str]:
    dashboards = [json.loads(file.read_text()) for file in sorted(GRAFANA.glob("*.json"))]
    found = [target["expr"] for board in dashboards for panel in board["panels"] for target in panel["targets"]]
    found += [one["query"]["query"] for board in dashboards for one in board["templating"]["list"] if one["type"] == "query"]
    return found + [str(rule["expr"]) for rule in rules()]


def test_there_is_something_to_look_at() -> None:
    assert len(expressions()) > 15
    assert all({"alert", "expr", "for", "labels", "annotations"} <= set(rule) for rule in rules())


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_is_one_of_ours(expression: str) -> None:
    names = known()
    used = _METRIC.findall(expression)
    assert used
    labels: set[str] = set()
    for name, selector in used:
        assert name in names, f"there is no metric {name}"
        assert set(_LABEL.findall(selector)) <= names[name] | FROM_PROMETHEUS, f"{name} has no such label: {selector}"
        labels |= names[name]
    for grouped in _BY.findall(expression):
        assert {one.strip() for one in grouped.split(",")} <= labels | FROM_PROMETHEUS
    assert expression.count("(") == expression.count(")")


def test_an_unknown_metric_is_caught() -> None:
    assert "houyi_vm_no_such_total" not in known()
    assert _METRIC.findall('rate(houyi_vm_no_such_total{vm="x"}[5m])') == [("houyi_vm_no_such_total", 'vm="x"')]


def test_panels_have_titles_units_and_places_of_their_own() -> None:
    for file in GRAFANA.glob("*.json"):
        panels = json.loads(file.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
        assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
async def test_prometheus_takes_the_rules() -> None:
    await run(["promtool", "check", "rules", str(PROMETHEUS / "houyi-alerts.yml")], timeout=30)
