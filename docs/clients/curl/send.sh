#!/bin/sh
# Sends usage events to tidemark, one JSON event per line. Needs curl 7.71 or newer.
#   TIDEMARK_URL=http://127.0.0.1:8787 TIDEMARK_KEY=tmk_... ./send.sh events.ndjson
# Exit status: 0 everything is durable; 3 some events were refused, as printed: correct them;
# 1 not everything was sent: run it again, no event counts twice.
set -eu
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# In a file, because other users of the machine can see the arguments of a command.
printf 'Authorization: Bearer %s\n' "$TIDEMARK_KEY" >"$work/headers"
refused=0

send() {
  # Repeating a POST is safe: an event counts once. --retry waits for Retry-After, or longer each
  # time; it covers 408, 429, 500, 502, 503 and 504, --retry-all-errors lost connections.
  status=$(curl --silent --show-error --output "$work/answer" --write-out '%{http_code}' \
    --retry "${TIDEMARK_RETRIES:-10}" --retry-all-errors --connect-timeout 5 --max-time 60 \
    --header "@$work/headers" --header 'Content-Type: application/x-ndjson' \
    --data-binary "@$1" "$TIDEMARK_URL/api/v1/events?partial=true") || status="no answer"
  case $status in
    204) ;;
    200) # `refused` names events by their place in this batch; `usageUnknown` those without counts.
      cat "$work/answer"; echo
      for index in $(grep -o '"index":[0-9]*' "$work/answer" | cut -d: -f2 | sort -nu); do
        sed -n "$((index + 1))p" "$1"
        refused=3
      done ;;
    400 | 413)
      if [ "$status" = 413 ] && [ "$(grep -c '' "$1")" -gt 1 ]; then
        half=$(($(grep -c '' "$1") / 2))
        head -n "$half" "$1" >"$1.a"
        tail -n +"$((half + 1))" "$1" >"$1.b"
        send "$1.a"
        send "$1.b"
      else # Nothing in this body can be read, or its one event is too large.
        cat "$work/answer"; echo
        cat "$1"
        refused=3
      fi ;;
    *) # 401, 403, 415: correct the key or the URL. Others: still failing after all retries.
      echo "not sent, status $status:" >&2
      [ ! -e "$work/answer" ] || cat "$work/answer" >&2
      exit 1 ;;
  esac
}

grep -v '^[[:space:]]*$' "$1" | split -l "${TIDEMARK_BATCH:-500}" - "$work/batch."
for batch in "$work"/batch.*; do send "$batch"; done
exit "$refused"
