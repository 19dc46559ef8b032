"""The dashboard: Grafana can show it, and each panel says what it shows and in what unit."""

import json
from collections import Counter
from itertools import pairwise

import promql_parser

from tests.deploy.asking import (
    DASHBOARD,
    labels_left,
    labels_written,
    panels,
    questions,
    selectors,
)

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


def test_no_panel_covers_another_and_rows_stand_above_what_they_name() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert max(taken.values()) == 1
    assert all(
        (one["gridPos"]["y"], one["gridPos"]["x"]) < (other["gridPos"]["y"], other["gridPos"]["x"])
        for one, other in pairwise(panels())
    )


def test_every_expression_is_promql_and_rates_are_taken_over_enough_scrapes() -> None:
    for where, expression, _ in questions():
        assert selectors(expression), where
    for panel in panels():
        for target in panel.get("targets", ()):
            assert target["expr"].count("rate(") == target["expr"].count("$__rate_interval")


def test_what_is_written_about_an_outcome_names_labels_that_it_has() -> None:
    for where, expression, text in questions():
        left = labels_left(promql_parser.parse(expression))
        # With `None` it has all of the metric's, which the live metrics tell.
        assert left is None or labels_written(text) <= left, where
