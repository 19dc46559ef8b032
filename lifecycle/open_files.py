"""How many files a process may keep open. Each connection is one."""

import resource

WANTED = (32_768, 8_192, 4_096)
"""The first is enough for every process under any setting. Some systems have a bound besides the
hard limit and do not tell it, so smaller numbers are tried, too."""


def allow_open_files() -> None:
    """Raise the soft limit of open files; many systems allow 1,024 unless they are asked.

    Nothing is lowered. Where the system refuses, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in WANTED:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= allowed:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):
            continue
        return
