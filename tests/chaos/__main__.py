"""`python -m tests.chaos`: reads the command line, and runs chaos over each database it names.

With suppliers that are a service of their own there is a run for each of their modes, two at once,
because they mostly wait; unless a database is named, half of them are over the one, half over the
other. Exits with 1 on a violation.
"""

import argparse
import multiprocessing
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product

from tqdm import tqdm

from tests.chaos import __doc__ as about
from tests.chaos.running import Size, run_embedded, run_outside, set_up, write
from tests.chaos.suppliers import MODES, Mode
from tests.processes import Database

RUNS_AT_ONCE = 2

DATABASES: tuple[Database, ...] = ("sqlite", "postgresql")


def main() -> None:
    """Run chaos as the command line says and exit with 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description=about.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--trips", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=25.0, help="how long faults are caused")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--suppliers", choices=["embedded", "http"], default="embedded")
    parser.add_argument("--mode", choices=MODES, action="append", help="of the suppliers over HTTP")
    options = parser.parse_args()
    set_up("")
    write([f"Chaos, --seed {options.seed}"])
    size = Size(options.seed, options.trips, options.seconds)
    if options.suppliers == "embedded":
        violations = [run_embedded(size, each) for each in options.database or DATABASES]
    else:
        violations = list(_run_each(size, _outside(options)))
    sys.exit(any(violations))


def _outside(options: argparse.Namespace) -> list[tuple[Database, Mode]]:
    """Return over which databases to run, with suppliers of which modes."""
    modes = options.mode or MODES
    if options.database:
        return list(product(options.database, modes))
    return [(DATABASES[MODES.index(mode) % len(DATABASES)], mode) for mode in modes]


def _run_each(size: Size, runs: list[tuple[Database, Mode]]) -> Iterator[int]:
    """Run chaos with suppliers of each mode, each run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(RUNS_AT_ONCE, context, max_tasks_per_child=1) as pool:
        try:
            told = pool.map(partial(run_outside, size), *zip(*runs, strict=True))
            # In a terminal only.
            yield from tqdm(told, desc="Over", total=len(runs), unit=" runs", disable=None)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


if __name__ == "__main__":
    main()
