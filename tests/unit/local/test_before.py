"""What libvirt changed is put back as it was; what others use meanwhile, and what was there before, stays."""

import pytest

from houyi.local.before import forwards, tables, unused

TABLE = {"table": {"family": "ip", "name": "filter"}}
FORWARD = {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}}
INPUT = {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}
OWN = {"chain": {"family": "ip", "table": "filter", "name": "MINE"}}
SET = {"set": {"family": "ip", "table": "filter", "name": "known", "type": "ipv4_addr"}}
RULE = {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "expr": [{"accept": None}]}}
INPUT_RULE = {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"accept": None}]}}
DROPS = {"chain": {**FORWARD["chain"], "policy": "drop"}}
OTHER = {"table": {"family": "ip6", "name": "filter"}}


def test_a_table_with_hooks_only_is_unused() -> None:
    assert unused([{"metainfo": {}}, TABLE, FORWARD, INPUT]) == tables([TABLE]) == {("ip", "filter")}


@pytest.mark.parametrize("thing", [OWN, SET, RULE, DROPS])
def test_a_table_with_anything_else_is_used(thing: dict[str, dict[str, object]]) -> None:
    assert unused([TABLE, OTHER, INPUT, thing]) == {("ip6", "filter")}


def test_who_has_rules_for_forwarding_relies_on_it() -> None:
    assert not forwards([TABLE, FORWARD, INPUT, INPUT_RULE])
    assert forwards([TABLE, FORWARD, RULE])
    assert forwards([TABLE, DROPS])
