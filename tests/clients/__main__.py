"""Makes clients in several languages and runs each against a live service: make clients

A language whose programs are missing is left out. It has failed if it was asked for by name.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.generated import LANGUAGES, missing, run_client


def main(languages: list[str]) -> int:
    """Run the clients in `languages`, or in all, and return how many failed."""
    failed = 0
    for language in languages or LANGUAGES:
        if absent := missing(language):
            sys.stdout.write(f"{language}: left out, for want of {absent}\n")
            failed += language in languages
            continue
        with tempfile.TemporaryDirectory(prefix="trip-clients-") as folder:
            try:
                run_client(language, Path(folder))
            except subprocess.CalledProcessError as error:
                failed += 1
                sys.stdout.write(f"{language}: FAILED: {error}\n")
            else:
                sys.stdout.write(f"{language}: booked, undone, listed, cancelled and refused\n")
    return failed


sys.exit(main(sys.argv[1:]))
