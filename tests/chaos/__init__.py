"""Chaos: bookings run while the service is killed, frozen, starved, locked and forgotten.

    python -m tests.chaos --seed 7 --trips 150 --seconds 25 --database sqlite
    python -m tests.chaos --seed 7 --suppliers http --mode no-idempotency

The seed decides about trips, faults and their moments. Callers behave as good clients do: they
repeat a request without an answer, under the same idempotency key. Meanwhile a random half of the
closed workflows is deleted from Temporal, as at the end of its retention, and their keys are used
again. At the end the record, the reservations and the API are compared with what Temporal says of
each trip, or said before it was made to forget. With `--suppliers http` the suppliers are a service
of their own: it is killed and frozen, too, it breaks three in ten of its calls, and what it holds
is compared as well.
A webhook fails half of its calls meanwhile; in the end each event was received, and verified.
The service's own audit runs every few seconds, and must find nothing.
"""
