"""Which environment variables there are: those of the settings, Temporal's and OpenTelemetry's."""

import re
from collections.abc import Mapping

import pytest

from api import keys_of
from connection import encryption_of, temporal_config
from settings import Settings, SupplierSettings, load_settings
from shared import KINDS

SETTINGS = frozenset(name.upper() for name in Settings.model_fields) | {
    f"{kind}_SUPPLIER_{name}".upper() for kind in KINDS for name in SupplierSettings.model_fields
}

OF_OTHERS = re.compile(r"TEMPORAL_(ADDRESS|NAMESPACE|API_KEY|TLS(_[A-Z_]+)?)|OTEL_[A-Z_]+")
"""What Temporal's SDK and OpenTelemetry's read themselves."""

SECRET = re.compile(r"PASSWORD|PWD|SECRET|TOKEN|API_KEY|PAYLOAD_KEYS|DATABASE_URL|TLS_CLIENT_KEY")
"""Names of variables whose value is nobody else's business."""


def unknown(names: Mapping[str, object]) -> set[str]:
    """Return those of the variables that no process reads."""
    return {name for name in names if name not in SETTINGS and not OF_OTHERS.fullmatch(name)}


def settings_of(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that a process reads from these variables alone, if it starts at all."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    temporal_config()
    settings = load_settings()
    keys_of(settings.api_keys)
    encryption_of(settings.payload_keys)
    return settings
