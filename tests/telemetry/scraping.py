"""Reads what `/metrics` says, as Prometheus does."""

import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """What one scrape has told."""

    text: str

    @property
    def types(self) -> dict[str, str]:
        """The type of each metric, by its name as it is declared."""
        lines = (line.split() for line in self.text.splitlines() if line.startswith("# TYPE "))
        return {name: kind for _, _, name, kind in lines}

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def value(self, name: str, **labels: str) -> float:
        """Return the one sample of that name which has those labels, and perhaps more."""
        found = [
            value
            for each, has, value in self.samples()
            if each == name and has.items() >= labels.items()
        ]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def counts(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of that name that are not 0, by the values of those labels."""
        return {
            tuple(has[label] for label in labels): value
            for each, has, value in self.samples()
            if each == name and value
        }

    def label_values(self) -> set[str]:
        return {value for _, labels, _ in self.samples() for value in labels.values()}


def scrape(port: int, path: str = "/metrics", limit: float = 10.0) -> Scrape:
    """Scrape a process. Raises `OSError`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=limit) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Scrape(answer.read().decode())


def scrape_registry(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())
