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

    A server that takes a connection without a descriptor for it fails thousands of times a second.
    A server that stops earlier leaves its clients in the listen queue.
    """
    needed = wanted + RESERVE
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
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
