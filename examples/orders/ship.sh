#!/bin/sh
cat >/dev/null
printf '{"shipment": "ship-%s"}\n' "$REPLAY_IDEMPOTENCY_KEY"
