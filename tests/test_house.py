"""The house: who may import whom, and that it stands in a folder of any name."""

import ast
import http.client
import shutil
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from shared import KINDS
from tests.processes import ROOT, Process, Service, bare_environment, service, wait_until

TACH = Path(sysconfig.get_path("scripts")) / "tach"

needs_tach = pytest.mark.skipif(
    not TACH.exists(), reason="tach, which requirements/dev.txt has, is missing"
)

NOT_OURS = shutil.ignore_patterns(".*", "__pycache__", "*.db*", "tests", "benchmarks")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project, less the tests, in a folder whose name is a trap."""
    copy = tmp_path / "it's 100% off"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    return copy


def check_arrows(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TACH, "check"], cwd=house, capture_output=True, text=True, timeout=60)


@needs_tach
def test_the_arrows_of_the_house_point_one_way(house: Path) -> None:
    checked = check_arrows(house)
    assert checked.returncode == 0, checked.stderr


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


@needs_tach
def test_every_wrong_arrow_fails_and_is_named(house: Path) -> None:
    for file, line, _ in WRONG_ARROWS:
        module = house / file
        module.parent.mkdir(exist_ok=True)
        with module.open("a") as code:
            code.write(f"\n{line}\n")
    checked = check_arrows(house)
    assert checked.returncode == 1
    said = checked.stderr.splitlines()
    for file, _, told in WRONG_ARROWS:
        assert any(file in line and told in line for line in said), (file, checked.stderr)


def test_no_room_hands_out_its_files(house: Path) -> None:
    """Tach takes `import room.file` and `from room import file` for uses of the room's face."""
    faces = {face.parent.name: face.read_text() for face in house.glob("*/__init__.py")}
    for path in house.rglob("*.py"):
        own_room = path.relative_to(house).parts[0]
        for imported in imports(path, faces):
            room, _, rest = imported.partition(".")
            if room in faces.keys() - {own_room} and rest:
                assert not (house / room / f"{rest}.py").exists(), f"{path} imports {imported}"


def imports(path: Path, faces: Mapping[str, str]) -> Iterator[str]:
    """Yield what a file imports, less what a room's face hands out."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            face = faces.get(node.module or "", "")
            names = (name.name for name in node.names if f'"{name.name}"' not in face)
            yield from (f"{node.module}.{name}" for name in names)


SHARED_NAMES = {"__init__", "__main__"}
"""What Python wants files of any folder to be called."""


def test_one_name_is_one_thing(house: Path) -> None:
    files, classes = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for path in house.rglob("*.py"):
        place = str(path.relative_to(house))
        files[path.stem].append(place)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(place)
    assert {name: found for name, found in classes.items() if len(found) > 1} == {}
    same = {name: found for name, found in files.items() if name not in SHARED_NAMES}
    assert {name: found for name, found in same.items() if len(found) > 2} == {}


def test_a_room_has_no_towers(house: Path) -> None:
    """A class inherits from one of another file of its room for what it is: once, not in turn."""
    places: dict[str, Path] = {}
    bases: list[tuple[str, str]] = []
    for path in house.glob("*/*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                places[node.name] = path
                bases += [(node.name, ast.unparse(base)) for base in node.bases]
    over_files = {
        (name, base)
        for name, base in bases
        if base in places and places[base] != places[name]
        if places[base].parent == places[name].parent
    }
    assert {name for name, _ in over_files} & {base for _, base in over_files} == set()


WITHOUT_PAGES = """
import asyncio, logging, starter
from connection import lazy_client

logging.disable()
client = asyncio.run(lazy_client({"target_host": "localhost:1"}))
http = starter.create_app(client).test_client()
for method, path in [("POST", "/book"), ("GET", "/openapi.json"), ("GET", "/livez"), ("GET", "/")]:
    answer = http.open(path, method=method, json={"name": ""} if method == "POST" else None)
    print(method, path, answer.status_code, answer.mimetype)
"""


def test_the_service_works_without_the_pages(house: Path) -> None:
    """Their room goes, and with it the lines of `starter.py` that name it."""
    shutil.rmtree(house / "pages")
    starter = house / "starter.py"
    lines = starter.read_text().splitlines(keepends=True)
    kept = [line for line in lines if "pages." not in line and line != "import pages\n"]
    assert len(lines) - len(kept) == 2
    starter.write_text("".join(kept))
    environment = bare_environment() | {"DATABASE_URL": f"sqlite:///{house / 'record.db'}"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PAGES],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "POST /book 400 application/problem+json",
        "GET /openapi.json 200 application/json",
        "GET /livez 200 application/json",
        "GET / 404 application/problem+json",
    ], done.stderr


@pytest.mark.slow  # It starts three processes. Where the record's file lies: `test_database`.
def test_from_any_folder_and_in_any_the_service_finds_its_files(
    house: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with service() as copied:
        del copied.settings["DATABASE_URL"]
        copied.temporal.start()
        worker, api = (
            started_in(elsewhere, copied, house / script)
            for script in ("run_worker.py", "starter.py")
        )
        worker.wait_for_output("Polling task queue")
        wait_until(lambda: copied.status_of("/readyz") == 200, "the API is ready")

        trip = {name: f"a-{name}" for name in ("name", *KINDS)}
        booked = copied.request("POST", "/book", trip)
        assert (booked.status, booked.body["cancelled"]) == (200, False)
        for path, text in (("/docs", "<h1"), ("/static/pages.css", "{"), ("/openapi.json", "{")):
            assert text in page(copied, path)
        assert (worker.stop(), api.stop()) == (0, 0)

    assert (house / "reservations.db").exists()
    assert not list(elsewhere.iterdir())


def started_in(folder: Path, copied: Service, script: Path) -> Process:
    """Start `script` with `folder` as its working directory."""
    log = folder.with_name(f"{script.stem}.log")
    environment = bare_environment() | copied.settings
    process = Process(script.stem, [sys.executable, str(script)], log, environment, folder)
    copied.processes.append(process)
    process.start()
    return process


def page(copied: Service, path: str) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", copied.api_port, 60)) as line:
        line.request("GET", path)
        answer = line.getresponse()
        assert answer.status == 200, path
        return answer.read().decode()
