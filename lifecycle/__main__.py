"""`python -m lifecycle start …`: honcho, which also stops when its terminal is closed.

A closed terminal sends SIGHUP to some processes, to others nothing; what is written to it fails.
honcho knows nothing of that: it would die, and the processes that it started would run on.
"""

import contextlib
import os
import signal
import threading
import time

from honcho import command, printer

CHECK_SECONDS = 0.5


class Printer(printer.Printer):  # type: ignore[misc]  # honcho has no types.
    """Prints to a terminal that may have been closed, and that no process is to control."""

    def write(self, message: printer.Message) -> None:
        """Print a line if anybody can read it, with what cannot be printed escaped."""
        data = message.data
        text = (data.decode(errors="replace") if isinstance(data, bytes) else data).rstrip()
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
        with contextlib.suppress(OSError):
            super().write(message._replace(data=line))


def stop_with_terminal() -> None:
    """Stop this process as SIGTERM does once its terminal is closed, not by SIGHUP.

    It stays where nohup started it: SIGHUP is ignored, and it neither reads nor writes a terminal.
    """
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN) is signal.SIG_IGN
    if ignored and not any(map(os.isatty, range(3))):
        return
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # It has none.
        return

    def watch() -> None:
        while os.isatty(terminal):
            time.sleep(CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    command.Printer = Printer
    stop_with_terminal()
    command.main()
