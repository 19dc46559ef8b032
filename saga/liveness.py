"""How long a silence lasts before a worker counts as gone: all such times, and why they are so.

Each time is a compromise. If it is too long, the trips of a dead worker wait. If it is too short, a
worker that is starved, frozen for a moment or far away counts as dead, and a machine that has too
much to do already does its work again. A false alarm costs a trip no attempt, because a lost try is
no failure of the supplier. So only the burden decides about these times, not a promise.

Heartbeat timeout: 10 s (`shared.SagaPolicy`). With 2 s a worker held to a quarter of a CPU loses
most of its tries. Workflow-task timeout: Temporal's own default, 10 s, for the same reason.
With them a dead worker's trips end within 12 s, and a worker held to a quarter of a CPU books 300
trips of 300 (`python -m tests.hardship`).
"""

import datetime as dt

STICKY_TIMEOUT = dt.timedelta(seconds=1)
"""A workflow's next task waits so long for the worker that has the workflow in its memory. Then any
worker may take it, and replays the workflow, which takes milliseconds. When the first worker is
dead, this adds to the heartbeat's timeout: Temporal's default of 10 s would double the wait."""

HEARTBEAT_THROTTLE = dt.timedelta(seconds=3)
"""The SDK holds heartbeats back for 80% of their timeout by default, so that one late heartbeat is
a lost try. At this pace three in a row must be lost."""
