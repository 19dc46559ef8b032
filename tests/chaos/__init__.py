"""Chaos: bookings run while the service is killed, frozen, starved, locked and forgotten.

    python -m tests.chaos --seed 7 --trips 150 --seconds 25 --database sqlite
    python -m tests.chaos --seed 7 --suppliers http --mode no-idempotency

Trips, faults and their moments follow from the seed. Callers behave as good clients do: they repeat
a request whose answer they did not get, under the same idempotency key. Meanwhile a random half of
the closed workflows is deleted from Temporal, as its retention does it, and their keys are used
again. When all has ended, the record, the reservations and the API are compared with what Temporal
says of each trip, or said before it was made to forget; and with what the suppliers hold, if they
are a service of their own, which is killed and frozen then, and breaks three in ten of its calls.
The service's own audit runs every few seconds, and must find nothing. With `--plant` a fault of
each kind is planted at the end, by hand, and it must find all of them.
"""
