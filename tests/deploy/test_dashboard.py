"""The dashboard: Grafana can show it, and each panel says what it shows and in what unit."""

import json
from collections import Counter

from tests.deploy.asking import DASHBOARD, panels, questions, selectors

UNITS = {"none", "s", "bytes", "percentunit", "reqps", "ops"}
"""Those of Grafana's that are used. https://github.com/grafana/grafana, valueFormats"""


def test_it_is_of_the_last_classic_schema_and_asks_for_its_data_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    # Grafana 12 and later take it as it stands; earlier ones ignore what they do not know.
    assert dashboard["schemaVersion"] == 42
    assert dashboard["uid"] and dashboard["title"]
    assert "id" not in dashboard, "an id is of one Grafana's database"
    (variable,) = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    assert all(panel["datasource"] == source for panel in panels() if panel["type"] != "row")


def test_each_panel_has_a_title_of_its_own_a_unit_and_something_to_ask() -> None:
    shown = [panel for panel in panels() if panel["type"] != "row"]
    assert {panel["type"] for panel in shown} == {"stat", "timeseries"}
    assert max(Counter(panel["title"] for panel in shown).values()) == 1
    assert max(Counter(panel["id"] for panel in panels()).values()) == 1
    for panel in shown:
        configuration = panel["fieldConfig"]
        assert configuration["defaults"]["unit"] in UNITS, panel["title"]
        # Grafana's schema requires it, and its panels read it without asking.
        assert configuration["overrides"] == []
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references)) != [], panel["title"]


def test_every_expression_is_promql_and_rates_are_taken_over_enough_scrapes() -> None:
    for where, expression in questions():
        assert selectors(expression), where
    for panel in panels():
        for target in panel.get("targets", ()):
            assert target["expr"].count("rate(") == target["expr"].count("$__rate_interval")
