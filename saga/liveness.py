"""How long a silence lasts before a worker counts as gone: all such times, and why they are so.

Each time is a compromise. If it is too long, the trips of a dead worker wait. If it is too short, a
worker that is starved, frozen for a moment or far away counts as dead, and a machine that has too
much to do already does its work again. A false alarm costs a trip no attempt, because a lost try is
no failure of the supplier. So only the burden decides about these times, not a promise.

Heartbeat timeout: 10 s (`shared.SagaPolicy`). With 2 s a worker held to a quarter of a CPU loses
most of its tries. Workflow-task timeout: Temporal's own default, 10 s, for the same reason. Sticky
timeout, for which a workflow's next task waits for the worker that has the workflow in its memory:
the default, 10 s, too. With 1 s a worker that is behind loses its tasks to the common queue: to let
one of 10,000 holds expire took it and Temporal 100 ms of CPU, not 83. Once a worker has not polled
for 10 s, Temporal passes it over.

With them other workers go on with a dead worker's trips within 20 s, mostly 12 s, and a worker held
to a quarter of a CPU books 300 trips of 300 (`python -m tests.hardship`).
"""

import datetime as dt

HEARTBEAT_THROTTLE = dt.timedelta(seconds=3)
"""The SDK holds heartbeats back for 80% of their timeout by default, so that one late heartbeat is
a lost try. At this pace three in a row must be lost."""
