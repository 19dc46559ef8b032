"""The recorded histories, one of each shape that a trip takes, and how they are recorded.

The test of a trip of some shape names it: `@pytest.mark.shape("booked")`. Then its last workflow
must run the same activities as the recorded one. This records all of them into the folder:

    RECORD_HISTORIES=tests/saga/histories .venv/bin/python -m pytest tests/saga -m shape

With `--encrypted -k …` it records some into `encrypted/` there; `test_replay.py` says which ones.
Record again only when the way that *new* trips run has changed on purpose, and then keep the old
files in a folder in `earlier/` for as long as trips of the old kind may be open.

After a kind was added, new trips run more than the recorded ones, which replay all the same.
Nothing is compared then until they are recorded again.
"""

import json
import os
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from connection import Encryption
from shared import KINDS

HISTORIES = Path(__file__).with_name("histories")
EARLIER = Path(__file__).with_name("earlier")
"""Of trips that began before changes, by the names of these for `patched`."""


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


RECORDED = files_in(HISTORIES)


def name_of(path: Path, folder: Path = HISTORIES) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def recorded(name: str, folder: Path = HISTORIES) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (folder / f"{name}.json").read_text())


def activities(history: WorkflowHistory) -> list[tuple[str, str]]:
    """Return the names and ids of the activities of a trip."""
    return [
        (scheduled.activity_type.name, scheduled.activity_id)
        for event in history.events
        if (scheduled := event.activity_task_scheduled_event_attributes).activity_id
    ]


async def compare_or_record(name: str, client: Client, closed: WorkflowHandle[Any, Any]) -> None:
    """Compare a trip with the recorded one of its shape, or record it."""
    history = await closed.fetch_history()
    into = os.environ.get("RECORD_HISTORIES")
    if into is None:
        if not {f"book_{kind}" for kind in KINDS} <= dict(activities(recorded("booked"))).keys():
            return
        ran = [activity for activity, _ in activities(history)]
        assert ran == [activity for activity, _ in activities(recorded(name))], "Record it again"
        return
    codec = client.data_converter.payload_codec
    encrypted = isinstance(codec, Encryption) and codec.encrypts
    folder = Path(into, "encrypted") if encrypted else Path(into)
    _record(history.to_json().replace(client.identity, "recorder"), folder / f"{name}.json")


def _record(text: str, file: Path) -> None:
    told = json.loads(text, object_hook=_without_stack_trace)["events"]
    # One event a line, without what names this machine.
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in told)
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(f'{{"events":[\n{lines}\n]}}\n')


def _without_stack_trace(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "stackTrace"}
