"""How many connections fit into what the process may keep open."""

import logging
import resource

logger = logging.getLogger(__name__)

RESERVE = 100
"""Descriptors for all else: Temporal, the record, the event loop, files."""
FEWEST = 16
"""Connections that are taken under any limit."""


def connections_that_fit(wanted: int) -> int:
    """Return how many connections the server may hold open, `wanted` at the most.

    The soft limit is raised as far as the hard one lets it. A server that takes what it has no
    descriptor for fails thousands of times a second; one that stops before leaves its clients in
    the listen queue.
    """
    needed = wanted + RESERVE
    limit = _raise_limit(needed)
    if limit >= needed:
        return wanted
    fitting = max(limit - RESERVE, FEWEST)
    logger.warning(
        "%d connections fit into the limit of %d open files; for %d raise it to %d (ulimit -n)",
        fitting,
        limit,
        wanted,
        needed,
    )
    return fitting


def _raise_limit(needed: int) -> int:
    """Raise the soft limit to `needed` if that can be, and return the one that holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft >= allowed:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        # Some systems have a further bound, which they do not tell.
        return soft
    return allowed
