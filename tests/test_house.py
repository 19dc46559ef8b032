"""The house: who may import whom, and that it stands in a folder of any name."""

import ast
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shared import KINDS
from tests.processes import ROOT, Process, bare_environment, service, wait_until

TACH = Path(sysconfig.get_path("scripts")) / "tach"

NO_ROOMS = ("tests", "benchmarks")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project, less the tests, in a folder whose name is a trap."""
    copy = tmp_path / "it's 100% off"
    not_ours = shutil.ignore_patterns(".*", "__pycache__", "*.db*", *NO_ROOMS)
    shutil.copytree(ROOT, copy, ignore=not_ours)
    return copy


@pytest.fixture(scope="module")
def modules() -> dict[Path, ast.Module]:
    """The project's modules by their places, less the tests."""
    folders = [each for each in ROOT.iterdir() if each.is_dir() and each.name not in NO_ROOMS]
    rooms = [each for each in folders if not each.name.startswith(".")]
    files = [*ROOT.glob("*.py"), *(file for room in rooms for file in room.rglob("*.py"))]
    return {file.relative_to(ROOT): ast.parse(file.read_bytes()) for file in files}


WRONG_ARROWS = [
    ("shared.py", "import saga", "Module 'shared' cannot depend on 'saga'"),
    ("saga/steps.py", "import record", "Module 'saga' cannot depend on 'record'"),
    ("bookings/trips.py", "import api", "Module 'bookings' cannot depend on 'api'"),
    ("api/routes.py", "import saga", "Module 'api' cannot depend on 'saga'"),
    ("api/routes.py", "import pages", "Module 'api' cannot depend on 'pages'"),
    ("pages/form.py", "import record", "Module 'pages' cannot depend on 'record'"),
    ("pages/wording.py", "from api.openapi import x", "not part of the public interface for 'api'"),
    ("simulator/stock.py", "import suppliers", "Module 'simulator' cannot depend on 'suppliers'"),
    ("starter.py", "import suppliers", "Module 'starter' cannot depend on 'suppliers'"),
    ("cellar/__init__.py", "import starter", "Module '<root>' cannot depend on 'starter'"),
]
"""A file, a line that is put at its end, and what is said of it."""

GONE = [room for room in ("pages", "simulator") if not (ROOT / room).exists()]
"""Rooms that docs/template.md takes out of a copy."""


@pytest.mark.skipif(not TACH.exists(), reason="tach, which requirements/dev.txt has, is missing")
def test_each_wrong_arrow_is_named_and_no_other(house: Path) -> None:
    arrows = [arrow for arrow in WRONG_ARROWS if not any(room in str(arrow) for room in GONE)]
    for file, line, _ in arrows:
        module = house / file
        module.parent.mkdir(exist_ok=True)
        with module.open("a") as code:
            code.write(f"\n{line}\n")
    checked = subprocess.run([TACH, "check"], cwd=house, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1
    said = [line for line in checked.stderr.splitlines() if "[FAIL]" in line]
    for file, _, told in arrows:
        assert any(file in line and told in line for line in said), (file, checked.stderr)
    assert len(said) == len(arrows), checked.stderr


def test_no_room_hands_out_its_files(modules: dict[Path, ast.Module]) -> None:
    """Tach takes `import room.file` and `from room import file` for uses of the room's face."""
    faces = {place.parent.name: (ROOT / place).read_text() for place in modules if is_face(place)}
    for place, module in modules.items():
        for imported in imports(module, faces):
            room, _, rest = imported.partition(".")
            if room in faces.keys() - {place.parts[0]} and rest:
                assert not (ROOT / room / f"{rest}.py").exists(), f"{place} imports {imported}"


def is_face(place: Path) -> bool:
    return len(place.parts) == 2 and place.name == "__init__.py"


def imports(module: ast.Module, faces: Mapping[str, str]) -> Iterator[str]:
    """Yield what a module imports, less what a room's face hands out."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            face = faces.get(node.module or "", "")
            names = (name.name for name in node.names if f'"{name.name}"' not in face)
            yield from (f"{node.module}.{name}" for name in names)


def classes(modules: dict[Path, ast.Module]) -> list[tuple[Path, ast.ClassDef]]:
    return [
        (place, node)
        for place, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    ]


def test_one_name_is_one_thing(modules: dict[Path, ast.Module]) -> None:
    named = Counter(node.name for _, node in classes(modules))
    files = Counter(place.stem for place in modules if not place.stem.startswith("__"))
    assert [name for name, count in named.items() if count > 1] == []
    assert [name for name, count in files.items() if count > 2] == []


def test_a_room_has_no_towers(modules: dict[Path, ast.Module]) -> None:
    """A class inherits from one of another file of its room for what it is: once, not in turn."""
    found = classes(modules)
    places = {node.name: place for place, node in found}
    over_files = {
        (node.name, base)
        for place, node in found
        for base in map(ast.unparse, node.bases)
        if base in places and places[base] != place and places[base].parent == place.parent
    }
    assert {name for name, _ in over_files} & {base for _, base in over_files} == set()


@pytest.mark.slow  # It starts three processes. Where the record's file lies: `test_database`.
def test_from_any_folder_and_in_any_the_service_finds_its_files(
    house: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with service() as copied:
        del copied.settings["DATABASE_URL"]
        environment = bare_environment() | copied.settings
        worker, api = (
            Process(
                name, [sys.executable, str(house / name)], tmp_path / name, environment, elsewhere
            )
            for name in ("run_worker.py", "starter.py")
        )
        copied.processes += [worker, api]
        for process in (copied.temporal, worker, api):
            process.start()
        worker.wait_for_output("Polling task queue")
        wait_until(lambda: copied.status_of("/readyz") == 200, "the API is ready")

        trip = {name: f"a-{name}" for name in ("name", *KINDS)}
        booked = copied.request("POST", "/book", trip)
        assert (booked.status, booked.body["cancelled"]) == (200, False)
        found = [("/openapi.json", "{")]
        if "pages" not in GONE:
            found += [("/docs", "<h1"), ("/static/pages.css", "{")]
        for path, text in found:
            address = f"http://127.0.0.1:{copied.api_port}{path}"
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert text in answer.read().decode()
        assert (worker.stop(), api.stop()) == (0, 0)

    assert (house / "reservations.db").exists()
    assert not list(elsewhere.iterdir())
