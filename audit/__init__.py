"""The audit: compares what the record, Temporal and the suppliers say of each trip.

It says each difference in a sentence, mends what is certain (an ending that the record was not
told, a booking that shows up for a trip which holds nothing) and marks the rest for people. The
worker runs it at intervals; `python -m audit` runs it by hand. It knows nothing of HTTP.
"""

from audit.auditor import Auditor
from audit.differences import DIFFERENCES, Difference, Tally
