"""Real web servers, as Debian has them, that tests start with settings of their own."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import Process, bare_environment, free_port, wait_until

SERVERS = {
    program: shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin")
    for program in ("nginx", "apache2", "lighttpd", "caddy")
}

APACHE = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile apache.pid
Mutex pthread
ErrorLog apache.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User www-data
Group www-data
DocumentRoot {folder}
<Directory {folder}>
  Require all denied
</Directory>
"""


@contextmanager
def started(folder: Path, program: str, configuration: str, *options: str) -> Iterator[int]:
    """Run a web server, and yield its port."""
    port, file = free_port(), folder / program
    file.write_text(configuration.format(port=port, folder=folder))
    command = [str(SERVERS[program]), *options, str(file)]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    process = Process(program, command, folder / f"{program}.log", bare_environment() | home)
    process.start()

    def answers() -> bool:
        with socket.socket() as line:
            return not process.running or line.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, f"{program} answers")
        assert process.running, process.output
        yield port
    finally:
        process.kill()
