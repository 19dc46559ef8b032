"""Whether the process of this container answers: `python deploy/healthcheck.py`, the image's check.

One image serves API and worker, and a container runs one of them, so either's `/livez` will do.
Only alive is asked: whether it can also book is for whoever sends it requests (`/readyz`).
"""

import http.client
import os
import sys

SECONDS = 4.0
"""For an answer; the image's `HEALTHCHECK` waits a second longer."""


def alive(port: int) -> bool:
    """Whether a process answers at that port that it lives."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        line.request("GET", "/livez")
        return line.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def main() -> None:
    """Exit with 0 if the API or the worker answers, else with 1."""
    ports = (os.environ.get("PORT", "3000"), os.environ.get("METRICS_PORT", "9464"))
    sys.exit(0 if any(alive(int(port)) for port in ports) else 1)


if __name__ == "__main__":
    main()
