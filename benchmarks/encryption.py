"""What it costs to encrypt what goes to Temporal."""

import base64

from benchmarks.measure import all_cpu, rate, warm_up
from benchmarks.reports import Effort, Report, Target, pair
from benchmarks.stacks import NO_WAITS, project
from tests.processes import ROOT

AT_ONCE = 100

KEYS = f"key:{base64.b64encode(bytes(32)).decode()}"


def encrypted_beside_clear(effort: Effort) -> Report:
    """(x) Encryption beside none; with `--beside`, beside none of another checkout."""
    another = effort.beside != ROOT
    report = Report(f"Encryption beside {effort.beside if another else 'none'}")
    with (
        project(settings=NO_WAITS | {"PAYLOAD_KEYS": KEYS}) as encrypted,
        project(source=effort.beside) as clear,
    ):
        for stack in (encrypted, clear):
            warm_up(stack)
        ours, theirs = pair(effort, encrypted, clear, ("encrypted", "clear"), AT_ONCE)
    report.series = [ours, theirs]
    kept = ours.ratio(theirs, rate)
    report.targets = [Target(f"rate encrypted / clear, {AT_ONCE} at once", kept, 0.9, True)]
    cpu = ours.ratio(theirs, all_cpu)
    report.facts.append(f"CPU encrypted / clear: {cpu.median:.2f} ({cpu.low:.2f}-{cpu.high:.2f})")
    return report
