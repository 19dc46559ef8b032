"""Mutants: the code of four rooms is changed, one place at a time; a test of the room must notice.

    python -m tests.mutants --count 120 --seed 7 saga record

Works in a copy of the project. One run of a room's tests, unchanged, tells which test runs which
lines; a mutant then meets the tests of its statement, the quick ones first. What hangs is noticed.
Left out: text, annotations, logging. Ends with the table, and with each mutant that lived.
"""

import argparse
import ast
import contextlib
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from coverage import CoverageData

logger = logging.getLogger("mutants")

ROOT = Path(__file__).parent.parent

TESTS = {
    "saga": ["tests/saga"],
    "record": ["tests/record"],
    "suppliers": ["tests/suppliers", "tests/test_activities.py"],
    "bookings": ["tests/bookings"],
}
NOT_COPIED = shutil.ignore_patterns(".?*", "__pycache__", "*.db*")
OPPOSITE = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
}


class Mutant(NamedTuple):
    """One change of one file: what stands between two offsets becomes something else."""

    file: str
    lines: range
    """Those of the statement, or of its head."""
    start: int
    end: int
    was: str
    now: str

    def __str__(self) -> str:
        was, now = (" ".join(text.split()) for text in (self.was, self.now))
        return f"{self.file}:{self.lines.start}: {was[:100]}  ->  {now[:100]}"


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield what of a node may become what."""
    match node:
        case ast.Compare(left, [operator], [right]):
            yield node, f"{ast.unparse(left)} {OPPOSITE[type(operator)]} {ast.unparse(right)}"
        case ast.BoolOp(operator, values):
            word = " or " if isinstance(operator, ast.And) else " and "
            yield node, f"({word.join(f'({ast.unparse(value)})' for value in values)})"
        case ast.UnaryOp(ast.Not(), operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(bool() | int() | float() as value):
            yield node, str(not value if isinstance(value, bool) else value + 1)
        case ast.Call(function, values, keywords):
            for gone in keywords:
                yield gone, ""
            if len(values) == 1 and isinstance(function, ast.Name) and function.id.islower():
                yield node, f"({ast.unparse(values[0])})"
        case ast.If(test) | ast.While(test) | ast.IfExp(test) if isinstance(
            test, ast.Name | ast.Attribute | ast.Call | ast.Await
        ):
            yield test, f"(not {ast.unparse(test)})"
        case ast.Expr(ast.Call() | ast.Await()) | ast.Raise() | ast.Return(None) | ast.AugAssign():
            yield node, "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.ExceptHandler(body=[first, *_]) if not isinstance(first, ast.Raise):
            yield first, "raise"


def walk(node: ast.AST, lines: range) -> Iterator[tuple[ast.AST, str, range]]:
    """Go through the code; not through annotations, logging and the words of an error."""
    if isinstance(node, ast.stmt | ast.ExceptHandler):
        body = getattr(node, "body", None)
        lines = range(node.lineno, body[0].lineno if body else (node.end_lineno or 0) + 1)
    if isinstance(node, ast.Expr) and "logger." in ast.unparse(node):
        return
    yield from ((old, new, lines) for old, new in changes(node))
    for name, field in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST):
                    yield from walk(child, lines)


def mutants(path: Path, file: str) -> Iterator[Mutant]:
    """Yield every mutant of a file that is still Python."""
    code = path.read_bytes()  # A column counts bytes.
    begins = [0, *(line.end() for line in re.finditer(b"\n", code))]
    for old, now, lines in walk(ast.parse(code), range(1)):
        place: ast.expr = old  # type: ignore[assignment]  # Whatever changes has a place.
        start = begins[place.lineno - 1] + place.col_offset
        end = begins[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
        was = code[start:end].decode()
        if isinstance(old, ast.keyword) and (comma := re.match(rb"\s*,", code[end:])):
            end += comma.end()
        with contextlib.suppress(SyntaxError):
            ast.parse(code[:start] + now.encode() + code[end:])
            yield Mutant(file, lines, start, end, was, now)


class Room:
    """One room's files in the copy, and what its tests did when nothing was changed."""

    def __init__(self, copy: Path, name: str) -> None:
        self.copy, self.name = copy, name
        files = [path.relative_to(copy) for path in sorted((copy / name).glob("*.py"))]
        self.mutants = [mutant for file in files for mutant in mutants(copy / file, str(file))]

    def measure(self) -> None:
        """Run the room's tests as they are: how long each takes, and the lines that it runs."""
        told = ["--cov-context=test", "--cov-report=", "--junitxml=times.xml", f"--cov={self.name}"]
        if self._pytest([*TESTS[self.name], *told, "--cov-fail-under=0"], timeout=3_600):
            sys.exit(f"The tests of {self.name} fail with nothing changed")
        self.seconds = defaultdict[str, float](float)
        for case in Xml.parse(self.copy / "times.xml").iter("testcase"):
            file, function = case.attrib["classname"].replace(".", "/"), case.attrib["name"]
            self.seconds[f"{file}.py::{function.split('[')[0]}"] += float(case.attrib["time"])
        data = CoverageData(self.copy / ".coverage")
        data.read()
        self.tests: dict[str, dict[int, set[str]]] = defaultdict(dict)
        for file in data.measured_files():
            for line, contexts in data.contexts_by_lineno(file).items():
                found = {context.split("[")[0].split("|")[0] for context in contexts}
                self.tests[Path(file).name][line] = found & set(self.seconds)

    def notices(self, mutant: Mutant) -> bool:
        """Tell whether a test fails, or hangs, with this one change."""
        by_line = self.tests[Path(mutant.file).name]
        # What runs on import, or in another process, is of no test: then all are asked.
        tests = set[str]().union(*(by_line.get(line, ()) for line in mutant.lines))
        tests = tests or set(self.seconds)
        path = self.copy / mutant.file
        code = path.read_bytes()
        path.write_bytes(code[: mutant.start] + mutant.now.encode() + code[mutant.end :])
        try:
            timeout = 30 + 3 * sum(self.seconds[test] for test in tests)
            return self._pytest(sorted(tests, key=lambda test: self.seconds[test]), timeout)
        finally:
            path.write_bytes(code)

    def _pytest(self, arguments: list[str], timeout: float) -> bool:
        plain = [sys.executable, "-m", "pytest", "-qx", "-pno:cacheprovider", "-mnot slow"]
        run = subprocess.Popen(
            [*plain, *arguments],
            cwd=self.copy,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return run.wait(timeout) != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            for stop in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(run.pid, stop)
                    run.wait(20)


def main() -> None:
    """Make the mutants, let the tests meet them, and tell which lived."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=0, help="a random sample of so many; 0: all")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000))
    parser.add_argument("rooms", nargs="*", default=[*TESTS])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for stop in (signal.SIGINT, signal.SIGTERM):
        # A run that is stopped tells what it has found so far.
        signal.signal(stop, signal.default_int_handler)
    os.nice(19)
    # The bytecode of a second ago must not be taken for that of now.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory(prefix="trip-booking-mutants-") as folder:
        copy = Path(shutil.copytree(ROOT, f"{folder}/copy", ignore=NOT_COPIED))
        rooms = [Room(copy, name) for name in options.rooms]
        every = [(room, mutant) for room in rooms for mutant in room.mutants]
        random.seed(options.seed)
        sample = random.sample(every, min(options.count or len(every), len(every)))
        logger.info("Seed %s: %s of %s mutants", options.seed, len(sample), len(every))
        met, lived = Counter[str](), defaultdict[str, list[Mutant]](list)
        for room in dict.fromkeys(room for room, _ in sample):
            room.measure()
        with contextlib.suppress(KeyboardInterrupt):
            for room, mutant in sample:
                noticed = room.notices(mutant)
                logger.info("%s %s", "killed" if noticed else "LIVED ", mutant)
                met[room.name] += 1
                lived[room.name] += [] if noticed else [mutant]
    logger.info("%-10s%8s%8s%8s", "room", "mutants", "killed", "lived")
    for name, count in met.items():
        alive = len(lived[name])
        logger.info("%-10s%8s%8s%8s", name, count, count - alive, alive)
    for mutant in (mutant for room in lived.values() for mutant in room):
        logger.info("lived: %s", mutant)


if __name__ == "__main__":
    main()
