"""The mechanism under the workflows: steps, compensation, repair and deadlines.

Deterministic: no clock, no randomness, no I/O, no environment.
"""

from saga.check import check_steps
from saga.deadline import Expired, TripOverdue
from saga.liveness import HEARTBEAT_THROTTLE
from saga.steps import Step, root_cause
from saga.trip import Saga, of_this_execution
