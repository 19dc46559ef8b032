"""What it costs to be watched: metrics that are scraped, and traces of every trip."""

import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.measure import all_cpu, rate, warm_up
from benchmarks.reports import Effort, Report, Target, pair
from benchmarks.stacks import NO_WAITS, project
from tests.processes import ROOT, free_port

AT_ONCE = 100

SCRAPE_INTERVAL = 5.0
"""Seconds; Prometheus' own default is a minute, and 15 are common."""


def watched_beside_unwatched(effort: Effort) -> Report:
    """(t) Metrics beside none, and then traces of every trip beside none."""
    another = effort.beside != ROOT
    report = Report(
        f"Metrics beside {effort.beside if another else 'a worker without'}; and traces"
    )
    port = free_port()
    watched = NO_WAITS | {"METRICS_PORT": str(port)}
    with (
        project(settings=watched) as ours,
        project(source=effort.beside) as theirs,
        _scraped([f"http://127.0.0.1:{port}/metrics", f"{ours.api_urls[0]}/metrics"]),
    ):
        for stack in (ours, theirs):
            warm_up(stack)
        metrics, none = pair(effort, ours, theirs, ("metrics", "none"), AT_ONCE)
    with (
        _collector() as endpoint,
        project(settings=NO_WAITS | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as traced,
        project() as untraced,
    ):
        for stack in (traced, untraced):
            warm_up(stack)
        traces, without = pair(effort, traced, untraced, ("traces", "no traces"), AT_ONCE)
    report.series = [metrics, none, traces, without]
    kept = metrics.ratio(none, rate)
    report.targets = [Target(f"rate with metrics / without, {AT_ONCE} at once", kept, 0.95, True)]
    for name, ratio in (
        ("CPU with metrics / without", metrics.ratio(none, all_cpu)),
        ("rate with traces / without", traces.ratio(without, rate)),
        ("CPU with traces / without", traces.ratio(without, all_cpu)),
    ):
        report.facts.append(f"{name}: {ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})")
    return report


@contextmanager
def _scraped(urls: Sequence[str]) -> Iterator[None]:
    """Scrape the addresses at intervals, as Prometheus does, until the end of the block."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPE_INTERVAL):
            for url in urls:
                with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own.
                    answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Collector(BaseHTTPRequestHandler):
    """Takes what a collector takes, and reads none of it: its cost is not measured here."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
