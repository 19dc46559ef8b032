"""The mechanism under the workflows: steps, compensation, repair, and what surrounds a try.

Its workflow half is deterministic: no clock, no randomness, no I/O, no environment.
"""

from saga.booking import Saga
from saga.deadline import TripOverdue
from saga.failures import LOST, WORKER_SHUTDOWN, root_cause, words_for_travellers
from saga.liveness import HEARTBEAT_THROTTLE, STICKY_TIMEOUT
from saga.progress import STATUS_KEY, Stopwatch
from saga.steps import Step
from saga.tries import TryInterceptor

__all__ = [
    "HEARTBEAT_THROTTLE",
    "LOST",
    "STATUS_KEY",
    "STICKY_TIMEOUT",
    "WORKER_SHUTDOWN",
    "Saga",
    "Step",
    "Stopwatch",
    "TripOverdue",
    "TryInterceptor",
    "root_cause",
    "words_for_travellers",
]
