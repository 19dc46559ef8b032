"""How a process of the service starts and stops: open files, waiting, orders to stop, leaving.

It knows nothing of what a process does, and it imports nothing of ours.
"""

from lifecycle.starting import allow_open_files, until_there
from lifecycle.stopping import STOP_LIMIT, leave, run_until_told, stop_at_once_when_told
