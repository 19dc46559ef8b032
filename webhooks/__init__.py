"""Telling others how trips end: each event of the record is sent to one receiver.

Temporal carries each delivery, as a standalone activity under the event's id. This room knows
nothing of sagas, and nothing of the API.
"""

from webhooks.relay import Relay, delivery_worker
from webhooks.sending import Sender
