"""How long the trips of a worker take to end after its `kill -9`, while another worker lives.

    PYTHONPATH=. python tests/takeover.py --times 10 --trips 20

Everything runs with the product's own settings, on the dev server as the Procfile starts it; only
the hotel answers in half a second and is never down. The times are of all the trips that ran when
the worker was killed, the dead worker's and the other's.
"""

import argparse
import asyncio
import datetime as dt
import random
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

from temporalio.client import Client

from shared import KINDS
from tests.processes import DEADLINE, Service, service


async def takeover(running: Service, client: Client, trips: int, moment: float) -> list[float]:
    """Kill a worker `moment` seconds after its trips were asked for; return their times."""
    body = {"name": "T", "attempts": 5, **{str(kind): kind for kind in KINDS}}
    begun = dt.datetime.now(dt.UTC)
    answers = [
        asyncio.to_thread(running.request, "POST", "/book", body, None, DEADLINE)
        for _ in range(trips)
    ]
    waits = asyncio.gather(*answers)
    await asyncio.sleep(moment)
    running.workers[0].kill()
    killed = dt.datetime.now(dt.UTC)
    assert all(answer.status == 200 for answer in await waits)
    running.workers[0].start()
    await asyncio.to_thread(running.wait_until_ready)
    closed = [
        execution.close_time
        async for execution in client.list_workflows(f"StartTime >= '{begun.isoformat()}'")
    ]
    assert len(closed) == trips
    return [(time - killed).total_seconds() for time in closed if time and time > killed]


async def measure(running: Service, times: int, trips: int) -> list[float]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(trips + 4))
    client = await Client.connect(running.temporal_address)
    chance = random.Random(0)
    longest = []
    for number in range(times):
        took = await takeover(running, client, trips, chance.uniform(0.1, 0.9))
        longest.append(max(took))
        sys.stdout.write(
            f"{number + 1:2}: {len(took)} trips ran; median {statistics.median(took):.2f} s,"
            f" longest {max(took):.2f} s\n"
        )
        sys.stdout.flush()
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--trips", type=int, default=20)
    options = parser.parse_args()
    with service(temporal_options=(), HOTEL_LATENCY_SECONDS=0.5) as running:
        running.start(workers=2)
        longest = asyncio.run(measure(running, options.times, options.trips))
    sys.stdout.write(
        f"The last of a dead worker's trips ended after a median of"
        f" {statistics.median(longest):.2f} s, {max(longest):.2f} s at the most\n"
    )


if __name__ == "__main__":
    main()
