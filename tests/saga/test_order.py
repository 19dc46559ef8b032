"""The saga in another domain: a step gets an earlier one's result, a pivot, items of any type."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from shared import RECORD_TRIP
from tests.faults import DEADLINE
from tests.saga.order import STEPS, CancelOrderWorkflow, OrderWorkflow
from tests.saga.shop import OF_THE_RECORD, SHOPS, OrderInput, Shop, failed, order, refused
from tests.trips import cancelled, eventually, temporal

QUEUE = "orders"

SENT = ["book_payment", "book_stock", "book_parcel", "book_receipt"]
REFUNDED = ["undo_book_stock", "undo_book_payment"]

Order = WorkflowHandle[Any, Any]


class Orders:
    """Places orders, and replays them in the end."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.placed: list[Order] = []

    async def place(self, wanted: OrderInput, task_timeout: float | None = None) -> Order:
        placed: Order = await self.client.start_workflow(
            OrderWorkflow.run,
            wanted,
            id=wanted.order_id,
            task_queue=QUEUE,
            execution_timeout=timedelta(seconds=DEADLINE),
            task_timeout=None if task_timeout is None else timedelta(seconds=task_timeout),
        )
        self.placed.append(placed)
        return placed

    async def place_until(
        self, name: str, task_timeout: float | None = None, **changes: Any
    ) -> tuple[Order, Shop, asyncio.Event]:
        """Return an order that waits in an activity, its shop, and what the activity waits for."""
        wanted = order(**changes)
        shop = SHOPS[wanted.order_id]
        gate = shop.gates[name] = asyncio.Event()
        placed = await self.place(wanted, task_timeout)
        await until(lambda: name in shop.reached)
        return placed, shop, gate


async def until(condition: Any) -> None:
    async def met() -> Any:
        return condition()

    await eventually(met)


async def state_of(placed: Order, kind: str) -> str:
    return str((await placed.query("progress"))[kind])


@pytest.fixture
async def orders(client: Client) -> AsyncIterator[Orders]:
    placing = Orders(client)
    of_steps = [activity for step in STEPS for activity in step.activities]
    workflows = [OrderWorkflow, CancelOrderWorkflow]
    activities = [*of_steps, *OF_THE_RECORD]
    async with Worker(client, task_queue=QUEUE, workflows=workflows, activities=activities):
        yield placing
    replayer = Replayer(workflows=workflows, data_converter=client.data_converter)
    for placed in placing.placed:
        await replayer.replay_workflow(await placed.fetch_history())


async def test_an_order_is_paid_reserved_and_sent_with_the_payments_reference(
    orders: Orders,
) -> None:
    wanted = order()
    placed = await orders.place(wanted)
    assert await placed.result() == {
        "status": "success",
        "message": {
            "booked_payment": {"cents": 1250, "currency": "EUR"},
            "booked_stock": "a lamp",
            "booked_parcel": {"street": "1 Main Street", "town": "Springfield"},
            "booked_receipt": "jane@example.com",
        },
    }
    shop = SHOPS[wanted.order_id]
    assert shop.calls == SENT
    assert shop.got == dict.fromkeys(["book_parcel", "book_receipt"], "PAY-12.50 EUR")
    assert shop.told == ["booked"]


async def test_an_item_is_shown_as_its_text(orders: Orders, client: Client) -> None:
    placed = await orders.place(order())
    await placed.result()
    history = await placed.fetch_history()
    payloads = [event.user_metadata.summary for event in history.events]
    shown = [
        (await client.data_converter.decode([payload]))[0] for payload in payloads if payload.data
    ]
    assert "Book payment 12.50 EUR" in shown


@pytest.mark.parametrize("name", ["book_stock", "book_parcel"])
async def test_an_order_that_fails_is_refunded(orders: Orders, name: str) -> None:
    wanted = order()
    shop = SHOPS[wanted.order_id]
    shop.faults[name] = [refused("Sold out")]
    placed = await orders.place(wanted)
    assert await placed.result() == {"status": "failure", "message": "Sold out"}
    # The failed stock, too: its last try may have reserved. The pivot has nothing to undo it.
    assert shop.calls == [*SENT[: SENT.index(name)], *REFUNDED]
    assert shop.told == ["rolled_back"]


@pytest.mark.parametrize("name", ["book_parcel", "book_receipt"])
async def test_no_number_of_failures_ends_the_pivot_or_what_follows(
    orders: Orders, name: str
) -> None:
    """Any of its tries may have succeeded without being able to say so."""
    wanted = order(attempts=2)
    shop = SHOPS[wanted.order_id]
    shop.faults[name] = [failed("Try later") for _ in range(5)]
    assert (await (await orders.place(wanted)).result())["status"] == "success"
    assert shop.calls == SENT
    assert shop.told == ["booked"]


async def test_a_step_that_has_an_undo_ends_after_its_attempts(orders: Orders) -> None:
    wanted = order(attempts=2)
    shop = SHOPS[wanted.order_id]
    shop.faults["book_stock"] = [failed("Try later") for _ in range(5)]
    assert (await (await orders.place(wanted)).result())["message"] == "Try later"
    assert shop.calls == ["book_payment", *REFUNDED]


async def test_after_the_pivot_a_refused_step_is_retried_until_it_succeeds(orders: Orders) -> None:
    wanted = order(policy={"stuck_retry_interval": 0.01})
    shop = SHOPS[wanted.order_id]
    shop.faults["book_receipt"] = [refused("No such mailbox"), refused("Mailbox full")]
    assert (await (await orders.place(wanted)).result())["status"] == "success"
    assert shop.calls == SENT
    assert shop.told == [
        "receipt is stuck: No such mailbox",
        "receipt is stuck: Mailbox full",
        "booked",
    ]


async def stuck_order(orders: Orders) -> tuple[Order, Shop]:
    wanted = order()
    shop = SHOPS[wanted.order_id]
    shop.faults["book_receipt"] = [refused("No such mailbox")]
    placed = await orders.place(wanted)
    await until(lambda: shop.told)

    async def is_stuck() -> bool:
        return await state_of(placed, "receipt") == "stuck"

    await eventually(is_stuck)
    return placed, shop


async def test_after_the_pivot_an_operator_has_a_refused_step_retried(orders: Orders) -> None:
    placed, shop = await stuck_order(orders)
    await placed.execute_update("retry", "receipt")
    assert (await placed.result())["status"] == "success"
    assert shop.calls == SENT


async def test_after_the_pivot_an_operator_settles_a_refused_step(orders: Orders) -> None:
    placed, shop = await stuck_order(orders)
    await placed.execute_update("resolve", args=["receipt", "sent by post"])
    assert (await placed.result())["status"] == "success"
    assert shop.calls == SENT[:-1]
    assert shop.told[1:] == ["receipt is resolved: sent by post", "booked"]


async def test_a_cancel_before_the_pivot_refunds(orders: Orders) -> None:
    placed, shop, gate = await orders.place_until("book_stock")
    await placed.cancel()
    gate.set()
    await cancelled(placed)
    assert [each for each in shop.calls if each != "book_stock"] == ["book_payment", *REFUNDED]


@pytest.mark.parametrize("where", ["book_parcel", "book_receipt", RECORD_TRIP])
async def test_a_cancel_from_the_pivot_on_undoes_nothing(orders: Orders, where: str) -> None:
    # While a local activity runs, a cancel waits for most of a workflow task's time.
    placed, shop, gate = await orders.place_until(where, task_timeout=1.0)
    await placed.cancel()
    await has_taken_the_cancel(placed)
    gate.set()
    assert (await placed.result())["status"] == "success"
    assert (await placed.describe()).status == WorkflowExecutionStatus.COMPLETED
    assert shop.calls == SENT
    assert shop.told[-1] == "booked" and set(shop.told) == {"booked"}


async def test_a_cancel_of_a_stuck_order_undoes_nothing(orders: Orders) -> None:
    placed, shop = await stuck_order(orders)
    await placed.cancel()
    await has_taken_the_cancel(placed)
    await placed.execute_update("retry", "receipt")
    assert (await placed.result())["status"] == "success"
    assert shop.calls == SENT


async def test_a_pivot_that_is_refused_after_a_cancel_refunds(orders: Orders) -> None:
    placed, shop, gate = await orders.place_until("book_parcel")
    shop.faults["book_parcel"] = [refused("No such street")]
    await placed.cancel()
    await has_taken_the_cancel(placed)
    gate.set()
    await cancelled(placed)
    assert shop.calls == [*SENT[:2], *REFUNDED]
    assert shop.told == ["cancelled"]


async def has_taken_the_cancel(placed: Order) -> None:
    """Wait until the workflow knows of the cancel that was asked for."""

    async def taken() -> bool:
        kinds = [event.WhichOneof("attributes") for event in (await placed.fetch_history()).events]
        asked = "workflow_execution_cancel_requested_event_attributes"
        done = "workflow_task_completed_event_attributes"
        return asked in kinds and done in kinds[kinds.index(asked) :]

    await eventually(taken)


async def test_the_deadline_does_not_undo_what_is_past_the_pivot(orders: Orders) -> None:
    placed, shop, gate = await orders.place_until(
        "book_parcel",
        policy={"trip_deadline": 2.0, "step_deadline": 2.0, "stuck_retry_interval": 0.01},
    )
    # A program's error has no words for a customer: a step with an undo is out of time then.
    shop.faults["book_receipt"] = [ApplicationError("x", type="KeyError", non_retryable=True)]
    await asyncio.sleep(2.1)  # Longer than it has.
    gate.set()
    assert (await placed.result())["status"] == "success"
    assert shop.calls == SENT


async def test_a_result_that_an_operator_gives_in_another_shape_blocks_nothing(
    orders: Orders, client: Client
) -> None:
    placed, shop, gate = await orders.place_until("book_payment")
    where = ("--workflow-id", placed.id, "--activity-id")
    await temporal(client, "activity", "complete", *where, "book_payment-1", "--result", "[7]")
    gate.set()

    async def cannot_be_read() -> bool:
        pending = (await placed.describe()).raw_description.pending_activities
        return any(each.activity_id == "book_parcel-1" and each.attempt > 1 for each in pending)

    await eventually(cannot_be_read)
    # The operator takes it back.
    fail = ("activity", "fail", *where, "book_parcel-1", "--reason", "No payment")
    await eventually(lambda: succeeds(client, *fail))
    assert await placed.result() == {"status": "failure", "message": "No payment"}
    assert shop.calls[-2:] == REFUNDED


async def succeeds(client: Client, *command: str) -> bool:
    try:
        await temporal(client, *command)
    except AssertionError:
        return False  # Between two tries there is nothing to fail.
    return True


async def test_an_order_that_is_over_cannot_be_undone(orders: Orders, client: Client) -> None:
    wanted = order()
    await (await orders.place(wanted)).result()
    with pytest.raises(WorkflowFailureError) as failure:
        await client.execute_workflow(
            CancelOrderWorkflow.run, wanted, id=f"cancel-{wanted.order_id}", task_queue=QUEUE
        )
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "PastPivot"
    assert SHOPS[wanted.order_id].calls == SENT
