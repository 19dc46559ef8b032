"""Random trips against the real workflow: whatever fails, a trip is whole or nothing.

Hypothesis makes the plans: what becomes of each try of each step and of its undo, and of what the
record is told, at which call of the record a cancel comes, whether the trip is held first and what
becomes of that, and what is done to the trip when it is over. `--hypothesis-profile=thorough` tries
many more.
"""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from record import Record, ReservationRefused, StepProgress
from run_worker import WORKFLOWS
from shared import CANCELLED, EXPIRED, KINDS, BookVacationInput, Kind
from suppliers import tries
from tests.conftest import IMPATIENT, trip
from tests.faults import (
    Call,
    Fault,
    FaultyRecord,
    Gate,
    answer_lost,
    down,
    healthy,
    refuse_for_good,
    unavailable,
)
from tests.saga.stage import cut_off
from tests.trips import (
    Cancellation,
    Trip,
    activities_of,
    held,
    reset_to,
    resolve_undo,
    result_of,
    retry_undo,
    start,
    start_cancellation,
    steps_of,
    workflow_tasks,
)
from tests.workers import running_worker
from workflows import BookingWorkflow

Try = Literal["failed", "away", "lost", "slow"]
"""How a try fails. `failed`: by its supplier's fault, which counts. `away`: the record is away.
`lost`: it writes, and its answer is lost. `slow`: its worker is cut off, and it writes too late."""

End = Literal["good", "invalid", "refused"]
"""What a booking comes to after its failing tries; the last two are final failures."""

WayOut = Literal["retry", "resolve", "wait"]
"""What the operator does about a stuck undo; `wait` leaves it to the undo's own interval."""

Afterwards = Literal["nothing", "started again", "reset", "cancelled"]
"""What is done to a trip that is over: somebody starts another one under its id, it is reset to
one of its workflow tasks, or it is cancelled if it was booked."""

Holding = Literal["no", "confirmed", "too late", "expires", "cancelled"]
"""What becomes of a trip that is held, if it is to be. `too late`: or just in time."""

HOLD_SECONDS = {"confirmed": 600.0, "too late": 0.7, "expires": 0.3, "cancelled": 600.0}

RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
UNHANDLED_COMMAND = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND

UNDO_ATTEMPTS = 2

TRIPS_AT_ONCE = 6
"""How many trips run side by side in one example. The profile's `max_examples` counts trips."""


@dataclass(frozen=True)
class StepPlan:
    """What becomes of one step."""

    tries: tuple[Try, ...]
    end: End
    confirm_tries: tuple[Try, ...]
    confirm_end: End
    """As `tries` and `end`, once the trip was held and is confirmed."""
    undo_tries: tuple[Try, ...]
    undo_refused: bool
    """Whether the undo fails for good until the operator acts."""
    way_out: WayOut

    def failures(self, attempts: int) -> tuple[int, bool]:
        """Return how many of its tries count, and whether they are too many."""
        counted = 0
        for each in () if self.end == "invalid" else self.tries:
            if each == "lost":
                break  # It is booked, or held, so that nothing after it is a failure.
            counted += each == "failed"
            if counted == attempts:
                return counted, True
        return counted, False

    @property
    def confirm(self) -> "StepPlan":
        """The step as it is booked at the confirm."""
        return replace(self, tries=self.confirm_tries, end=self.confirm_end)


@dataclass(frozen=True)
class Plan:
    """What becomes of one trip."""

    attempts: int
    steps: tuple[StepPlan, ...]
    """One for each kind."""
    holding: Holding
    cancels: frozenset[int]
    """The record's calls, counted from 1, during which the trip is cancelled."""
    told: tuple[Try, ...]
    """What becomes of telling the record, before it is heard."""
    afterwards: Afterwards
    reset_to: int
    """Which of its workflow tasks it is reset to; after the last one the count begins again."""

    def step(self, kind: Kind) -> StepPlan:
        return self.steps[KINDS.index(kind)]

    @property
    def is_slow(self) -> bool:
        """Whether a try may be lost, so that a clock has a say in how the trip ends."""
        return any(
            "slow" in (*step.tries, *step.confirm_tries, *step.undo_tries) for step in self.steps
        )

    @property
    def may_be_stuck(self) -> bool:
        """Whether an undo may need an operator."""
        return any(
            step.undo_refused or step.undo_tries.count("failed") >= UNDO_ATTEMPTS
            for step in self.steps
        )

    def failure(self) -> tuple[Kind, str] | None:
        """Return where and why the trip must fail if nothing is slow and nobody cancels it.

        One that is held fails so before it is.
        """
        for kind, step in zip(KINDS, self.steps, strict=True):
            _, too_many = step.failures(self.attempts)
            end = "failed" if too_many else step.end
            if end != "good":
                return kind, MESSAGES[end].format(kind=kind)
        return None

    @property
    def confirm(self) -> "Plan":
        """The trip once it is confirmed."""
        return replace(self, holding="no", steps=tuple(step.confirm for step in self.steps))

    def book_input(self) -> BookVacationInput:
        items = {
            f"book_{kind}_id": "invalid" if step.end == "invalid" else "valid"
            for kind, step in zip(KINDS, self.steps, strict=True)
        }
        waits = any(step.way_out == "wait" for step in self.steps)
        policy = replace(
            IMPATIENT,
            undo_attempts=UNDO_ATTEMPTS,
            heartbeat_timeout=0.3 if self.is_slow else IMPATIENT.heartbeat_timeout,
            stuck_retry_interval=0.05 if waits else IMPATIENT.stuck_retry_interval,
        )
        hold = HOLD_SECONDS.get(self.holding)
        return trip(attempts=self.attempts, policy=policy, hold_seconds=hold, **items)


MESSAGES = {
    "failed": "The {kind} is unavailable",
    "invalid": "Invalid {kind} booking, rolling back!",
    "refused": "The {kind} is refused",
}


def plans(*ways_to_fail: Try) -> st.SearchStrategy[Plan]:
    tries = st.just(()) | st.lists(st.sampled_from(ways_to_fail), max_size=4).map(tuple)
    step = st.builds(
        StepPlan,
        tries=tries,
        end=st.sampled_from([*["good"] * 8, "invalid", "refused"]),
        confirm_tries=tries,
        confirm_end=st.sampled_from([*["good"] * 8, "refused"]),
        undo_tries=tries,
        undo_refused=st.sampled_from([False, False, True]),
        way_out=st.sampled_from(["retry", "resolve", "wait"]),
    )
    return st.builds(
        Plan,
        attempts=st.integers(1, 4),
        steps=st.tuples(*(step for _ in KINDS)),
        holding=st.sampled_from(
            [*["no"] * 4, *["confirmed"] * 4, "too late", "expires", "cancelled"]
        ),
        cancels=st.frozensets(st.integers(1, 12), max_size=2),
        told=st.just(()) | st.lists(st.sampled_from(["away", "lost"]), max_size=2).map(tuple),
        afterwards=st.sampled_from(["nothing", "started again", "reset", "cancelled"]),
        reset_to=st.integers(0, 12),
    )


@dataclass(frozen=True)
class Ended:
    """A closed trip, and its steps as the record tells of them."""

    trip: Trip
    status: str
    message: object
    steps: dict[Kind, StepProgress]

    @property
    def resolved(self) -> set[Kind]:
        return {kind for kind, step in self.steps.items() if step.state == "resolved"}


FAULTS: dict[Try, Fault] = {"failed": unavailable, "away": down, "lost": answer_lost}


@dataclass
class PlannedTrip:
    """One trip, all that goes wrong with it and the operator who looks after it."""

    plan: Plan
    client: Client
    record: Record
    cancelled: bool = False
    confirmed: bool = False
    """Whether its workflow has accepted the confirm."""
    confirming: bool = False
    """Whether it was asked to confirm, so that its steps are booked and no more held."""
    over: bool = False
    """Whether the plan is carried out, so that nothing more goes wrong."""
    _calls: int = 0
    _told: int = 0
    _late: Gate = field(default_factory=Gate)
    _healed: set[Kind] = field(default_factory=set)
    _confirms: Counter[Kind] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.book_input = self.plan.book_input()

    async def fault(self, call: Call) -> None:
        if self.over:
            await healthy(call)
            return
        self._calls += 1
        if self._calls in self.plan.cancels:
            await self._cancel()
        await self._fault_for(call)(call)

    async def tell(self, call: Call) -> None:
        """Have what the workflow tells the record go as planned."""
        failing = () if self.over else self.plan.told[self._told : self._told + 1]
        self._told += 1
        await (FAULTS[failing[0]] if failing else healthy)(call)

    def _fault_for(self, call: Call) -> Fault:
        if call.kind in self._healed:
            return healthy
        step, number = self.plan.step(call.kind), call.number
        if call.operation == "reserve" and self.confirming:
            step = step.confirm
            self._confirms[call.kind] += 1
            number = self._confirms[call.kind]
        tries = step.tries if call.operation == "reserve" else step.undo_tries
        if number <= len(tries):
            return FAULTS.get(tries[number - 1], self._late)
        if call.operation == "reserve":
            return refuse if step.end == "refused" else healthy
        return refuse_for_good if step.undo_refused else healthy

    async def _cancel(self) -> None:
        try:
            await self.client.get_workflow_handle(self.book_input.book_user_id).cancel()
        except RPCError as error:
            # A try that was given up may come here after its trip has closed.
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        else:
            self.cancelled = True

    async def end_hold(self, running: Trip) -> None:
        """Wait until the trip is held, and do what is planned then."""
        while set((await running.query(BookingWorkflow.progress)).values()) != {"held"}:
            if (await running.describe()).status != WorkflowExecutionStatus.RUNNING:
                return
            await asyncio.sleep(0.02)
        if self.plan.holding == "cancelled":
            await self._cancel()
        elif self.plan.holding != "expires":
            self.confirming = True
            # It may have expired meanwhile, or was cancelled.
            with contextlib.suppress(WorkflowUpdateFailedError, RPCError):
                await running.execute_update(BookingWorkflow.confirm)
                self.confirmed = True

    async def look_after(self, running: Trip) -> None:
        """Find a way out for each stuck undo, until the trip has closed."""
        while (await running.describe()).status == WorkflowExecutionStatus.RUNNING:
            for kind, state in (await running.query(BookingWorkflow.progress)).items():
                if state == "stuck":
                    await self._find_a_way_out(running, kind)
            await asyncio.sleep(0.02)

    async def _find_a_way_out(self, running: Trip, kind: Kind) -> None:
        way_out = self.plan.step(kind).way_out
        # The undo may retry by itself meanwhile, and even close the trip.
        with contextlib.suppress(WorkflowUpdateFailedError, RPCError):
            if way_out == "resolve":
                await resolve_undo(running, kind, "settled")
                return
            self._healed.add(kind)
            if way_out == "retry":
                await retry_undo(running, kind)

    async def run(self) -> Ended:
        """Run the trip to its end, and even let in the writes that come after it."""
        # A workflow that waits for its local activity hears of a cancel within that time.
        soon = dt.timedelta(seconds=2)
        running = await start(self.client, self.book_input, soon)
        async with asyncio.TaskGroup() as tasks:
            if self.plan.holding != "no":
                tasks.create_task(self.end_hold(running))
            ending = tasks.create_task(self.to_its_end(running))
        ended = ending.result()
        await self._late.open()
        return ended

    async def to_its_end(self, running: Trip) -> Ended:
        async with asyncio.timeout(60):
            if self.plan.may_be_stuck:
                await self.look_after(running)
            with contextlib.suppress(WorkflowFailureError):
                await running.result()
        steps = await steps_of(self.record, running)
        if (await running.describe()).status == WorkflowExecutionStatus.CANCELED:
            return Ended(running, "cancelled", None, steps)
        result = await running.result()
        return Ended(running, result["status"], result["message"], steps)


async def refuse(call: Call) -> None:
    raise ReservationRefused(f"The {call.kind} is refused")


class PlannedRecord(FaultyRecord):
    """A record that does to each trip what the trip's plan says."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.plans: dict[str, PlannedTrip] = {}
        self.when_told = lambda call: self.plans[call.trip_id].tell(call)

    def fault_for(self, call: Call) -> Fault:
        return self.plans[call.trip_id].fault


@pytest.fixture(scope="module")
async def planned(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PlannedRecord]:
    path = tmp_path_factory.mktemp("model") / "store.db"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tries, "_beat", cut_off)
        async with Record.open(f"sqlite:///{path}") as record:
            await record.database.migrate()
            faulty = PlannedRecord(record)
            async with running_worker(client, faulty, workflow_sandbox=True):
                yield faulty


quick = plans("failed", "away", "lost")


@settings(max_examples=settings().max_examples // TRIPS_AT_ONCE)
@given(
    at_once=st.lists(
        quick | quick | quick | plans("failed", "away", "lost", "slow"),
        min_size=TRIPS_AT_ONCE,
        max_size=TRIPS_AT_ONCE,
    )
)
async def test_a_trip_is_whole_or_nothing_whatever_fails(
    client: Client, planned: PlannedRecord, at_once: list[Plan]
) -> None:
    trips = [PlannedTrip(plan, client, planned) for plan in at_once]
    planned.plans.update({each.book_input.book_user_id: each for each in trips})
    endings = await asyncio.gather(*(each.run() for each in trips))
    for each, ended in zip(trips, endings, strict=True):
        event(f"{ended.status}, {'with' if ended.resolved else 'without'} a resolved undo")
        await assert_it_ended_as_planned(planned, each, ended)
        await assert_it_is_whole_or_nothing(planned, each, ended)
        await assert_all_that_was_begun_is_undone_in_reverse(ended)
        assert_its_tries_are_bounded_and_truly_told(each, ended)
        event(f"{each.plan.afterwards} when {ended.status}")
    afterwards = await asyncio.gather(*map(partial(assert_it_stays_so, planned), trips, endings))
    await assert_they_are_deterministic([run for runs in afterwards for run in runs])


async def assert_it_ended_as_planned(record: Record, trip: PlannedTrip, ended: Ended) -> None:
    assert (ended.status == "cancelled") == trip.cancelled
    if ended.status == "success" and trip.plan.holding != "no":
        assert trip.confirmed
    if ended.status == "expired":
        assert trip.plan.holding in ("too late", "expires") and not trip.confirmed
    elif ended.status != "cancelled" and not trip.plan.is_slow:
        failure = trip.plan.failure()
        if failure is None and trip.plan.holding != "no":
            assert trip.confirmed
            failure = trip.plan.confirm.failure()
        assert ended.status == ("failure" if failure else "success")
        assert failure is None or failure[1] == ended.message
    shown = {"success": "booked", "failure": "rolled_back"}
    recorded = await record.trips.by_id(ended.trip.id)
    assert recorded is not None and recorded.closed_at is not None
    assert recorded.status == shown.get(ended.status, ended.status)
    reasons = {"failure": ended.message, "expired": EXPIRED, "cancelled": CANCELLED}
    assert recorded.reason == reasons.get(ended.status)


async def assert_it_is_whole_or_nothing(record: Record, trip: PlannedTrip, ended: Ended) -> None:
    assert all(trip.plan.step(kind).way_out == "resolve" for kind in ended.resolved)
    reserved = await held(record, ended.trip)
    assert {kind for kind, step in ended.steps.items() if step.held} == set(reserved)
    states = {step.state for step in ended.steps.values()}
    if ended.status == "success":
        assert (reserved, states) == (list(KINDS), {"booked"})
    else:
        assert reserved == []
        assert states <= {"undone", "resolved", "pending"}


async def assert_it_stays_so(
    record: Record, trip: PlannedTrip, ended: Ended
) -> list[Trip | Cancellation]:
    """Do to the trip that is over what is planned, and see that it holds what it must.

    Return every workflow run of the trip.
    """
    client = trip.client
    trip.over = True
    booking, before = ended.trip, await record.trips.by_id(ended.trip.id)
    assert before is not None
    status, holds = before.status, await held(record, booking)
    first: Trip = client.get_workflow_handle(booking.id, run_id=booking.first_execution_run_id)
    runs: list[Trip | Cancellation] = [first]
    match trip.plan.afterwards:
        case "started again":
            stranger = replace(trip.book_input, book_car_id="another-car")
            second = await start(client, stranger)
            assert (await result_of(second))["status"] == "failure"
            runs.append(second)
            assert await record.trips.by_id(booking.id) == before
        case "reset":
            tasks = await workflow_tasks(booking)
            again = await reset_to(client, booking, trip.plan.reset_to % len(tasks))
            # What an operator did before may come too early now, and is refused.
            ended_again = await trip.to_its_end(again)
            assert (ended_again.status == "success") == (ended.status == "success")
            runs.append(again)
        case "cancelled" if ended.status == "success":
            await record.trips.begin_cancellation(booking.id)
            cancellation = await start_cancellation(client, trip.book_input)
            await result_of(cancellation)
            runs.append(cancellation)
            status, holds = "cancelled", []
    after = await record.trips.by_id(booking.id)
    assert after is not None and after.closed_at is not None
    assert (after.status, await held(record, booking)) == (status, holds)
    return runs


async def assert_all_that_was_begun_is_undone_in_reverse(ended: Ended) -> None:
    ran = await activities_of(ended.trip)
    begun = [name for name in ran if name.startswith("book_")]
    undone = list(dict.fromkeys(name for name in ran if name.startswith("undo_")))
    # Those that are held are booked once more when the trip is confirmed.
    assert begun == [f"book_{kind}" for kind in [*KINDS, *KINDS][: len(begun)]]
    begun = begun[: len(KINDS)]
    expected = [] if ended.status == "success" else [f"undo_{name}" for name in reversed(begun)]
    assert undone == expected


def assert_its_tries_are_bounded_and_truly_told(trip: PlannedTrip, ended: Ended) -> None:
    plan = trip.plan
    # The try that held a step counts beside those of its confirm that fail.
    at_most = plan.attempts + (plan.holding != "no")
    assert all(step.attempts <= at_most for step in ended.steps.values())
    if trip.plan.is_slow or ended.status == "cancelled":
        return  # A clock, or the cancel, has had a say.
    if plan.holding != "no":
        if not trip.confirmed:
            return
        plan = plan.confirm
    failure = plan.failure()
    begun = KINDS if failure is None else KINDS[: KINDS.index(failure[0]) + 1]
    for kind in begun:
        step = plan.step(kind)
        failures, too_many = step.failures(plan.attempts)
        # The last try is booked, or is the supplier's final word.
        last = int(not too_many)
        if trip.confirmed:
            # What holds it is one try with what books it.
            is_refused = step.end == "refused" and "lost" not in step.tries
            last = 1 + (is_refused and not too_many)
        assert ended.steps[kind].attempts == failures + last


async def assert_they_are_deterministic(runs: list[Trip | Cancellation]) -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for run in runs:
            yield (history := await run.fetch_history())
            causes = {
                event.workflow_task_failed_event_attributes.cause
                for event in history.events
                if event.HasField("workflow_task_failed_event_attributes")
            }
            # The server has a workflow task done again when a signal or a cancel came in while the
            # workflow was closing: no mistake of the workflow.
            assert causes <= {UNHANDLED_COMMAND, RESET}

    await Replayer(workflows=WORKFLOWS).replay_workflows(histories())
