"""A supplier as a WSGI application: it confirms each booking, and knows of nothing."""

import json
from collections.abc import Callable, Iterable
from typing import Any


def application(
    asked: dict[str, Any], answer: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    order = json.loads(asked["wsgi.input"].read() or "null")
    answer("200 OK" if order else "404 Not Found", [("Content-Type", "application/json")])
    told = {"state": "confirmed", "item": order["item"], "reference": "R1"} if order else {}
    return [json.dumps(told).encode()]
