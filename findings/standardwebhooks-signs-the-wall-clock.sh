#!/usr/bin/env bash
# Signing by Standard Webhooks' Python library reads the wall clock of a datetime, whatever its zone.
#
# Version: standardwebhooks 1.1.0.
# Guess: Webhook.sign, which takes a datetime, signs the instant that an aware datetime stands for.
# Seen: it puts UTC in place of the zone. Noon in Oslo is signed as noon in UTC. A sender that writes
#   the same instant into `webhook-timestamp` (int(now.timestamp())) makes signatures that its own
#   `verify` refuses with "No matching signature found", as if the secret were wrong. A naive local
#   time fails in the same way, but on no machine whose zone is UTC, such as most of CI.
# What helps: give it datetimes in UTC only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check standardwebhooks==1.1.0

cat > "$folder/look.py" <<'PYTHON'
import base64
import datetime as dt

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook("whsec_" + base64.b64encode(b"a secret of 24 bytes....").decode())
instant = dt.datetime.now(dt.UTC)
zones = {"UTC": dt.UTC, "two hours ahead": dt.timezone(dt.timedelta(hours=2))}
seen = {}
for name, zone in zones.items():
    now = instant.astimezone(zone)
    assert now == instant, "one instant"
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign("msg_1", now, "{}"),
    }
    try:
        webhook.verify("{}", headers)
        seen[name] = "verified"
    except WebhookVerificationError as error:
        seen[name] = str(error)
    print(f"signed with the time in {name}: {seen[name]}")
wanted = {"UTC": "verified", "two hours ahead": "No matching signature found"}
assert seen == wanted, "it has changed"
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
