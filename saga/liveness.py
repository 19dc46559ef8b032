"""How long a silence lasts before a worker counts as gone: all such times, and why they are so.

Each is a compromise. Too long, and the trips of a dead worker wait; too short, and a worker that is
starved, frozen for a moment or far away counts as dead, and what it has in its hands is done again
by a machine that has too much to do already. A false alarm costs no trip its booking, because a
lost try is no failure of the supplier; so the times are chosen for the burden, not for the promise.

Heartbeat timeout, 10 s (`shared.SagaPolicy`). With 2 s a worker held to a quarter of a CPU loses
most of its tries. Workflow-task timeout: Temporal's own default, 10 s, for the same reason. What
came of it is measured by `python -m tests.hardship` and `python -m tests.takeover`: a worker held
to a quarter of a CPU books 300 trips of 300, and a dead worker's trips end within 12 s.
"""

import datetime as dt

STICKY_TIMEOUT = dt.timedelta(seconds=1)
"""For so long a workflow's next task waits for the worker that has the workflow in its memory; then
any worker may take it, and replays the workflow, which takes milliseconds. It comes on top of the
heartbeat's timeout when that worker is dead: Temporal's default of 10 s would double the wait."""

HEARTBEAT_THROTTLE = dt.timedelta(seconds=3)
"""The SDK holds heartbeats back for 80% of their timeout by default, so that one late heartbeat is
a lost try. At this pace three in a row must be lost."""
