"""The mechanism under the workflows: steps, compensation, repair, and what surrounds a try.

Its workflow half is deterministic: no clock, no randomness, no I/O, no environment.
"""

from saga.booking import Saga
from saga.failures import root_cause
from saga.liveness import HEARTBEAT_THROTTLE, STICKY_TIMEOUT
from saga.progress import STATUS_KEY
from saga.steps import Step
from saga.tries import TryInterceptor

__all__ = [
    "HEARTBEAT_THROTTLE",
    "STATUS_KEY",
    "STICKY_TIMEOUT",
    "Saga",
    "Step",
    "TryInterceptor",
    "root_cause",
]
