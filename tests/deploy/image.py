"""What stands in the Dockerfile, and the processes as a container has them: as process 1."""

import json
import os
import re
import subprocess
import sys

import psutil
import pytest

from tests.processes import ROOT, Process, Service, bare_environment, wait_until

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()

API = ["starter.py"]
WORKER = ["run_worker.py"]
MIGRATION = ["record/__main__.py"]
AUDIT = ["audit/__main__.py"]
"""What the image's entrypoint is given to start each process."""

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
if os.geteuid():
    NAMESPACE += ["--user", "--map-root-user"]


def _refused() -> str:
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, timeout=10)
    except OSError as error:
        return str(error)
    return tried.stderr


needs_namespaces = pytest.mark.skipif(
    bool(_refused()), reason=f"No process 1 can be made here: {_refused()}"
)


def instruction(name: str) -> list[str]:
    """Return the last instruction of that name, which is written as a JSON list."""
    found = re.findall(rf"^{name} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    told: list[str] = json.loads(found[-1])
    return told


def variables() -> dict[str, str]:
    """Return the environment that the image gives its processes, less where it has Python."""
    block = re.search(r"^ENV (PATH=.*?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert block
    pairs = dict(entry.split("=", 1) for entry in block[1].replace("\\\n", " ").split())
    return {name: value for name, value in pairs.items() if name != "PATH"}


class ProcessOne(Process):
    """A process of the image that is process 1 of a namespace of its own."""

    @property
    def own_pid(self) -> int:
        """Its id outside: `pid` is that of the program that made the namespace."""
        (child,) = psutil.Process(self.pid).children()
        return child.pid

    def start(self) -> None:
        super().start()
        wait_until(lambda: psutil.Process(self.pid).children(), "there is a namespace")

    def tell(self, number: int) -> int:
        """Send it a signal from outside, as a container engine does, and return its exit code."""
        os.kill(self.own_pid, number)
        return self.exit_code()


def process_one(service: Service, name: str, arguments: list[str], **changes: str) -> ProcessOne:
    """Return a process as a container starts it, which `service` ends."""
    settings = service.settings | variables() | {"PYTHONPATH": str(ROOT)} | changes
    # Coverage has a handler of its own for signals.
    environment = bare_environment() | settings
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    (program,) = instruction("ENTRYPOINT")
    assert program == "python"
    command = [*NAMESPACE, sys.executable, *arguments]
    process = ProcessOne(name, command, service.temporal.log.parent / f"{name}.log", environment)
    service.processes.append(process)
    return process
