#!/bin/sh
cat >/dev/null
printf '{"reservation": null, "released": true}\n'
