"""What every process of the service agrees on."""

import dataclasses
import inspect
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import (
    KINDS,
    TASK_QUEUE_NAME,
    BookVacationInput,
    Price,
    SagaPolicy,
    cancellation_id,
    cancelled_trip,
    new_user_id,
    slug,
    total_of,
)

TRIP = BookVacationInput(5, "john-doe-1", "a-car", "a-hotel", "a-flight")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("John Doe", "john-doe"),
        ("  John   Doe\t", "john-doe"),
        ("O'Brien & Söhne, Jr.", "o-brien-sohne-jr"),
        ("Agent 007", "agent-007"),
        ("José Ñandú", "jose-nandu"),
        ("Ｆｕｌｌ　Ｗｉｄｔｈ", "full-width"),
        ("../../etc/passwd?x=1#y", "etc-passwd-x-1-y"),
        ("a" * 200, "a" * 40),
        ("a" * 39 + " bc", "a" * 39),
    ],
)
def test_a_slug_keeps_the_ascii_letters_and_digits_of_a_name(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize(
    "name", ["山田太郎", "Иван", "محمد", "🏖️🚗", "---", "  ", "", "\x00", "\ud800"]
)
def test_a_name_without_ascii_letters_is_a_guest(name: str) -> None:
    assert slug(name) == "guest"


@given(st.text(st.characters(), max_size=300))
def test_a_slug_of_any_name_is_short_lower_case_words_joined_by_hyphens(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(name))
    assert len(slug(name)) <= 40


def test_a_user_id_is_the_slug_of_the_name_and_29_digits() -> None:
    assert re.fullmatch(r"john-doe-\d{29}", new_user_id("John Doe"))
    assert re.fullmatch(r"guest-\d{29}", new_user_id("山田太郎"))


def test_user_ids_of_one_name_are_all_different() -> None:
    assert len({new_user_id("John Doe") for _ in range(10_000)}) == 10_000
    assert len(str(2**96 - 1)) == 29, "96 random bits always fit"


def test_no_trips_own_id_is_that_of_a_cancellation() -> None:
    trip_id = new_user_id("cancellation:john")
    assert cancelled_trip(trip_id) is None
    assert cancelled_trip(cancellation_id(trip_id)) == trip_id


def test_the_names_that_other_code_imports_stay() -> None:
    assert TASK_QUEUE_NAME == "saga-task-queue"
    assert list(inspect.signature(BookVacationInput).parameters)[:5] == [
        "attempts",
        "book_user_id",
        "book_car_id",
        "book_hotel_id",
        "book_flight_id",
    ]
    assert TRIP.policy == SagaPolicy(), "new fields have defaults"


@pytest.mark.parametrize("frozen", [TRIP, TRIP.policy])
def test_a_trip_cannot_be_changed_once_it_is_made(frozen: BookVacationInput | SagaPolicy) -> None:
    name = dataclasses.fields(frozen)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(frozen, name, 1)


def test_a_trip_books_car_hotel_and_flight_in_this_order() -> None:
    assert [(kind, TRIP.item(kind)) for kind in KINDS[:3]] == [
        ("car", "a-car"),
        ("hotel", "a-hotel"),
        ("flight", "a-flight"),
    ]


# Prices


@pytest.mark.parametrize(
    ("prices", "total"),
    [
        (["0.1 EUR", "0.2 EUR"], "0.3 EUR"),
        (["120.00 EUR", "89.9 EUR", "0 EUR"], "209.90 EUR"),
        (["999999999999.9999 KWD", "999999999999.9999 KWD"], "1999999999999.9998 KWD"),
        (["1 JPY"], "1 JPY"),
        (["000.10 XXX", "1 XXX"], "1.10 XXX"),
        (["1 EUR", "1 USD"], None),
        (["1 EUR", None], None),
        ([None, None], None),
        ([], None),
    ],
)
def test_prices_of_one_currency_are_summed_without_an_error(
    prices: list[str | None], total: str | None
) -> None:
    known = [Price(*told.split()) if told else None for told in prices]
    assert str(total_of(known)) == str(total)
    assert str(total_of(reversed(known))) == str(total)


@given(st.lists(st.decimals(0, 999_999_999_999, places=4), min_size=1))
def test_a_sum_is_as_exact_as_its_prices(amounts: list[Decimal]) -> None:
    total = total_of(Price(str(amount), "EUR") for amount in amounts)
    assert total is not None
    assert Fraction(total.amount) == sum(Fraction(amount) for amount in amounts)
