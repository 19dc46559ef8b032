"""How long a silence lasts before a worker counts as gone: all such times, and why they are so.

Each is a compromise. Too long, and the trips of a dead worker wait; too short, and a worker that is
starved, frozen for a moment or far away counts as dead, and the work it has in its hands is done
again by a machine that has too much to do already. A false alarm costs no trip its booking: a lost
try is no failure of the supplier. So the times are chosen for the burden, not for the promise:
a dead worker's trips end within 12 s, and a worker held to a quarter of a CPU loses no try.

The heartbeat's timeout itself, 10 s, is part of the trip's policy (`shared.SagaPolicy`).
"""

import datetime as dt

WORKFLOW_TASK_TIMEOUT = dt.timedelta(seconds=10)
"""For so long a worker that died with a workflow task in its hands holds its trip up. The tasks
take milliseconds, but on a starved worker they wait for seconds: with 2 s, 300 trips at once cost
721 timeouts and twice the time. It is Temporal's default."""

STICKY_TIMEOUT = dt.timedelta(seconds=5)
"""For so long a workflow's next task waits for the worker that has the workflow in its memory; then
any worker may take it, and replays the workflow. Temporal's default of 10 s is too long on top of
the heartbeat's timeout; with 1 s a starved worker replays all that it has."""

HEARTBEAT_THROTTLE = dt.timedelta(seconds=3)
"""The SDK holds heartbeats back for 80% of their timeout by default, so that one lost heartbeat is
a lost try. At this pace three in a row must be lost."""
