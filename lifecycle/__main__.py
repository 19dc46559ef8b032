"""`python -m lifecycle start …`: honcho, which starts again what was killed with `kill -9`.

It also stops when its terminal is closed. A closed terminal sends SIGHUP to some processes, to
others nothing; what is written to it fails. honcho knows nothing of that: it would die, and the
processes that it started would run on.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time

from honcho import command, manager, printer

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


class Manager(manager.Manager):  # type: ignore[misc]  # honcho has no types.
    """Runs the processes until one of them ends by itself, or until an order to stop.

    One that is killed is started again; honcho would stop all the others.
    """

    def _all_started(self) -> bool:
        """Start again what was killed, and tell whether all run. honcho asks at every event."""
        for name, each in self._processes.items():
            if each.get("returncode") == -signal.SIGKILL and not self._terminating:
                del each["returncode"]
                self.returncode = None
                run, told = each["obj"].run, (self.events, True)
                multiprocessing.Process(name=name, target=run, args=told).start()
        return bool(super()._all_started())


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
    command.Printer, command.Manager = Printer, Manager
    stop_with_terminal()
    command.main()
