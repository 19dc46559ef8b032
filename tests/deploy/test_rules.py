"""The alerts: each fires when it must and not otherwise, and each has its runbook."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.asking import PROMETHEUS, RULES, alerts
from tests.processes import ROOT

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not here: apt-get install prometheus"
)

WRITTEN_SERIES = Path(__file__).with_name("rules_test.yml")


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.slow  # It takes promtool seven seconds.
@needs_promtool
def test_each_alert_fires_when_it_must_and_not_before_and_no_other() -> None:
    promtool("test", "rules", WRITTEN_SERIES)


def test_of_each_alert_it_is_written_when_it_fires() -> None:
    """That it does not otherwise is in each test: no other alert may fire in it."""
    fires = set(re.findall(r'alertname="(\w+)"', WRITTEN_SERIES.read_text()))
    assert fires == {alert["alert"] for alert in alerts()}


def test_each_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on() -> None:
    assert len(RULES) == 2
    for alert in alerts():
        assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"}), alert
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, alert
        # GitHub and others make a heading's anchor of its words in lower case.
        runbook = f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook_url"] == runbook


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    _, _, section = (ROOT / "docs/operations.md").read_text().partition("\n## Alerts\n")
    section, _, _ = section.partition("\n## ")
    headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]
