"""What the alerts and the dashboard ask of Prometheus: which metrics, by which labels."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
import yaml

from tests.processes import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))

OF_A_SCRAPE = frozenset({"job", "instance"})
"""Labels that Prometheus gives to whatever it scrapes."""

OF_PROMETHEUS = frozenset({"up"})
"""Metrics that it makes itself."""

ALTERNATIVES = re.compile(r"[\w/.|-]+")
"""A regular expression that is nothing but values, any of which may be."""


@dataclass(frozen=True)
class Selector:
    """A metric that is asked for, the labels it must have, and values that these must know."""

    metric: str
    labels: frozenset[str]
    values: frozenset[tuple[str, str]]


def alerts() -> list[dict[str, Any]]:
    """Return the alerts of all rule files."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, the rows that part them included."""
    told: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return told


def questions() -> Iterator[tuple[str, str]]:
    """Yield where each expression stands, and the expression."""
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            # Grafana puts in a range of at least four scrapes.
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "1m")


def selectors(expression: str) -> set[Selector]:
    """Return what the expression asks for. Raises `ValueError` when it is no PromQL."""
    found: set[Selector] = set()
    around: list[list[str]] = []

    def enter(node: promql_parser.Expr) -> None:
        around.append(_labels_needed(node))
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [each for each in node.matchers.matchers if each.name not in OF_A_SCRAPE]
            named = {matcher.name for matcher in matchers}
            labels = named.union(*around) - OF_A_SCRAPE
            values = {(each.name, value) for each in matchers for value in _values(each)}
            found.add(Selector(node.name or "", frozenset(labels), frozenset(values)))

    def leave(_: promql_parser.Expr) -> None:
        around.pop()

    promql_parser.walk(promql_parser.parse(expression), enter, leave)
    return found


def _labels_needed(node: promql_parser.Expr) -> list[str]:
    """Return the labels that whatever is beneath must have: those of a `by` or an `on`."""
    if isinstance(node, promql_parser.AggregateExpr):
        modifier = node.modifier
        return modifier.labels if modifier and str(modifier.type).endswith("By") else []
    if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
        matching = node.modifier.matching
        return matching.labels if str(matching.type).endswith("Include") else []
    return []


def _values(matcher: promql_parser.Matcher) -> list[str]:
    """Return the values that the matcher names, none when it is a pattern."""
    if ALTERNATIVES.fullmatch(matcher.value) and ".." not in matcher.value:
        return [value for value in matcher.value.split("|") if "." not in value]
    return []
