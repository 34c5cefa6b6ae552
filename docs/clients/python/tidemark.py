"""Sends usage events to tidemark, one JSON event per line. Needs `requests` 2.28 or newer.

    TIDEMARK_URL=http://127.0.0.1:8787 TIDEMARK_KEY=tmk_... python tidemark.py events.ndjson
"""

import json
import os
import sys

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

BATCH = int(os.environ.get("TIDEMARK_BATCH", "500"))
RETRIES = int(os.environ.get("TIDEMARK_RETRIES", "10"))


class Unsent(Exception):
    """The batch was not accepted, or not certainly. Keep its events and send them again."""


class Tidemark:
    def __init__(self, url, key):
        self.url = url.rstrip("/") + "/api/v1/events?partial=true"
        # Repeating a POST is safe: an event counts once. Waits for Retry-After, or longer each time.
        retry = Retry(
            total=RETRIES,
            backoff_factor=0.5,
            backoff_jitter=0.5,
            allowed_methods=["POST"],
            status_forcelist=[408, 429, 500, 502, 503, 504, 507],
            raise_on_status=False,
        )
        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(max_retries=retry))
        self.session.mount("https://", HTTPAdapter(max_retries=retry))
        self.session.headers["Authorization"] = f"Bearer {key}"
        self.session.headers["Content-Type"] = "application/x-ndjson"

    def send(self, events):
        """Sends a batch of events, each the bytes of a JSON object without line breaks.

        Returns the refused ones with the reason: correct those, sending them again changes nothing.
        Every other event is durable. Raises Unsent if the batch must be sent again as it is.
        """
        try:
            answer = self.session.post(self.url, data=b"\n".join(events), timeout=(5, 60))
        except requests.RequestException as error:
            raise Unsent(f"no answer: {error}") from error
        if answer.status_code == 204:
            return []
        if answer.status_code == 200:
            body = answer.json()
            for index in body["usageUnknown"]:
                print("no token counts, not charged:", events[index].decode(), file=sys.stderr)
            reasons = {}
            for fault in body["refused"]:
                reasons.setdefault(fault["index"], []).append(fault["detail"])
            return [(events[index], "; ".join(why)) for index, why in reasons.items()]
        if answer.status_code == 413 and len(events) > 1:
            middle = len(events) // 2
            return self.send(events[:middle]) + self.send(events[middle:])
        if answer.status_code in (400, 413):
            # Nothing in this body can be read, or its one event is too large.
            return [(event, answer.text) for event in events]
        # 401, 403, 415: correct the key or the URL. Others: still failing after all retries.
        raise Unsent(f"status {answer.status_code}: {answer.text}")


def main(path):
    client = Tidemark(os.environ["TIDEMARK_URL"], os.environ["TIDEMARK_KEY"])
    with open(path, "rb") as file:
        events = [line.strip() for line in file if line.strip()]
    any_refused = False
    for start in range(0, len(events), BATCH):
        try:
            refused = client.send(events[start : start + BATCH])
        except Unsent as error:
            sys.exit(f"not sent from event {start} on: {error}")
        for event, why in refused:
            any_refused = True
            print(json.dumps({"refused": event.decode(), "why": why}))
    sys.exit(3 if any_refused else 0)


if __name__ == "__main__":
    main(sys.argv[1])
