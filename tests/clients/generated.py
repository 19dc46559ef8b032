"""Clients that openapi-generator makes of the document of a live service, run against it.

Each language has a script beside this file that does the same: it books a trip, has one rolled
back, does not wait for a third, looks it up, lists them by a cursor, cancels one and is refused.
"""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import FAST_TIMERS, bare_environment, service

GENERATOR = "openapi-generator-cli"
GENERATOR_JAR = Path(sysconfig.get_path("purelib"), "openapi_generator_cli/openapi-generator.jar")
ANNOTATIONS_JAR = "/usr/share/java/geronimo-annotation-1.3-spec.jar"


@dataclass(frozen=True)
class Language:
    """How a client in one language is made and run, with what Debian has for it."""

    script: str
    """Beside this file."""
    command: str
    """Compiles and runs the script. The shell runs it in the client's folder; $0 is the service."""
    needs: Sequence[str] = ()
    """Programs and files."""
    packages: str = ""
    """Debian's, which have what it needs."""
    options: Sequence[str] = ()
    """Of the generator."""
    place: str = "."
    """The folder of the client to which the script belongs."""


LANGUAGES = {
    "python": Language("trip.py", f"{sys.executable} trip.py $0"),
    "go": Language(
        "trip.go",
        "go vet . && go run ./trip $0",
        needs=("go",),
        packages="golang-go",
        options=("--git-user-id", "trips", "--git-repo-id", "client"),
        place="trip",
    ),
    "java": Language(
        "Trip.java",
        'javac -cp "$CLASSPATH" -d . Trip.java $(find src/main -name "*.java") '
        '&& java -cp ".:$CLASSPATH" Trip $0',
        needs=("javac", "java", ANNOTATIONS_JAR),
        packages="default-jdk-headless libgeronimo-annotation-1.3-spec-java",
        # The generator's own file has all other packages that the client needs, but the nullable.
        options=("--library", "native", "--additional-properties", "openApiNullable=false"),
    ),
    "php": Language(
        "trip.php",
        "php trip.php $0",
        needs=("php", "/usr/share/php/GuzzleHttp/autoload.php"),
        packages="php-cli php-curl php-mbstring php-guzzlehttp-guzzle",
    ),
    "ruby": Language(
        "trip.rb",
        "ruby -I lib trip.rb $0",
        needs=("ruby", "/usr/share/doc/ruby-typhoeus"),
        packages="ruby ruby-typhoeus",
    ),
}


def missing(language: str) -> str:
    """Return what the client needs and is not here, and how to get it, in words."""
    path = bare_environment()["PATH"]
    if not shutil.which(GENERATOR, path=path):
        return f"{GENERATOR}: make .venv/.clients"
    made = LANGUAGES[language]
    absent = [
        need for need in made.needs if not shutil.which(need, path=path) and not Path(need).exists()
    ]
    return f"{', '.join(absent)}: apt-get install {made.packages}" if absent else ""


def run_client(language: str, folder: Path) -> None:
    """Make the client in `folder` and run its script against a service.

    Raises `subprocess.CalledProcessError` when it is not made, not compiled, or finds a fault.
    """
    made = LANGUAGES[language]
    with service("sqlite", FAST_TIMERS, HOTEL_OUTAGE_ATTEMPTS=0, HOTEL_LATENCY_SECONDS=0.1) as real:
        real.start()
        url = f"http://127.0.0.1:{real.api_port}"
        generate = [GENERATOR, "generate", "-i", f"{url}/openapi.json", "-g", language]
        _run([*generate, "-o", ".", *made.options], folder)
        place = folder / made.place
        place.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).with_name(made.script), place)
        _run(["sh", "-ec", made.command, url], folder)


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a command. What it writes is shown when it fails."""
    ran = subprocess.run(
        command,
        cwd=folder,
        env=bare_environment() | {"CLASSPATH": f"{GENERATOR_JAR}:{ANNOTATIONS_JAR}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        sys.stderr.write(ran.stdout[-4000:])
    ran.check_returncode()
