#!/bin/sh
# The idempotency key names the reservation, so doing it again after a crash reserves nothing twice.
cat >/dev/null
printf '{"reservation": "res-%s", "released": false}\n' "$REPLAY_IDEMPOTENCY_KEY"
