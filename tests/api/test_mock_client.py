"""People test their code with a client that is a mock: `create_app` takes it."""

from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, create_autospec

import pytest
from temporalio.client import Client

from starter import create_app

MOCKS: dict[str, Any] = {
    "a mock": MagicMock(),
    "an async mock": AsyncMock(),
    "a mock of a client": MagicMock(spec=Client),
    "an async mock of a client": AsyncMock(spec=Client),
    "a client by its signatures": create_autospec(Client, instance=True),
    "an object": SimpleNamespace(start_workflow=AsyncMock()),
}


@pytest.mark.parametrize("name", MOCKS)
@pytest.mark.parametrize("keys", ["", "shop:0123456789abcdef"])
def test_an_app_is_made_with_any_object_that_stands_for_a_client(
    name: str, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS", keys)
    http = create_app(cast(Client, MOCKS[name])).test_client()
    assert http.get("/livez").status_code == 200
    assert http.get("/openapi.json").status_code == 200
    headers = {"Authorization": f"Bearer {keys.partition(':')[2]}"} if keys else {}
    assert http.get("/bookings", headers=headers).json == {"bookings": [], "next_cursor": None}
