"""A real Prometheus that watches a service by what stands in deploy/, only faster."""

import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.asking import PROMETHEUS
from tests.processes import Process, bare_environment, free_port, wait_until

FASTER = 20
"""A minute of the rules takes three seconds: as many scrapes, each in a twentieth of its time."""

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="Prometheus is not here: apt-get install prometheus"
)

DURATION = re.compile(r"(\[|: )([0-9]+)([smh])(?=\]|$)", re.MULTILINE)
"""The range of a rate, or all that stands after a field's name (`for`, `scrape_interval`)."""

MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


def shortened(text: str) -> str:
    """Return a configuration, or rules, in which every duration is shorter.

    An age that is compared is a number of seconds, and stays.
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * MILLISECONDS[found[3]] // FASTER}ms"

    return DURATION.sub(shorter, text)


class Prometheus:
    """A Prometheus that runs, and what it tells."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what: str, **parameters: str) -> Any:
        """Return the data of one answer."""
        url = f"{self._api}{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples that an expression comes to now."""
        told: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return told

    def firing(self) -> list[dict[str, Any]]:
        """Return the alerts that fire now."""
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]

    def ever_fired(self) -> set[str]:
        """Return the names of the alerts that have ever fired."""
        fired = self.query('count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
        return {sample["metric"]["alertname"] for sample in fired}

    def scrapes_all(self) -> bool:
        """Tell whether every process has been scraped."""
        return {target["health"] for target in self.ask("targets")["activeTargets"]} == {"up"}


KEY_FILE = "/etc/prometheus/booking-api-key"

COMMENTED = re.compile(
    rf"^( +)# (authorization:)\n +#   (credentials_file: ){KEY_FILE}$", re.MULTILINE
)
"""What the configuration says is to be added where the API has keys."""


@contextmanager
def watching(folder: Path, api_port: int, api_key: str, worker_port: int) -> Iterator[Prometheus]:
    """A Prometheus with the configuration of deploy/, for processes that listen on these ports."""
    files = folder / "prometheus"
    shutil.copytree(PROMETHEUS, files)
    (files / "key").write_text(api_key)
    configuration = files / "prometheus.yml"
    for file in (configuration, *files.glob("rules/*.yml")):
        file.write_text(shortened(file.read_text()))
    text, keyed = COMMENTED.subn(rf"\1\2\n\1  \3{files / 'key'}", configuration.read_text())
    assert keyed == 1
    for place, port in (("localhost:3000", api_port), ("localhost:9464", worker_port)):
        assert text.count(place) == 1
        text = text.replace(place, f"127.0.0.1:{port}")
    configuration.write_text(text)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={files / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    process = Process("prometheus", command, folder / "prometheus.log", bare_environment(), folder)
    process.start()
    try:
        prometheus = Prometheus(port)

        def all_scraped() -> bool:
            assert process.running, process.output
            try:
                return prometheus.scrapes_all()
            except OSError:
                return False

        wait_until(all_scraped, "Prometheus scrapes every process")
        yield prometheus
    finally:
        process.kill()
