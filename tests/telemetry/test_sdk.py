"""The metrics of Temporal's SDK, as a process reads them from it."""

import logging

import pytest

from telemetry import SdkMetrics


def test_they_are_read_without_a_proxy_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with caplog.at_level(logging.WARNING):
        SdkMetrics().read()
    assert caplog.messages == []
