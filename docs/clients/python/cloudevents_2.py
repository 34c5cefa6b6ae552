"""The CloudEvents SDK for Python, generation 2 (cloudevents 2.x), with batches and retries."""

import os
import sys
from datetime import datetime

from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from tidemark import Tidemark


def usage(request_id, user, tokens_in, tokens_out, time):
    attributes = {
        "type": "tidemark.usage.v1",
        "source": "gateway-eu-1",
        "id": request_id,
        "time": datetime.fromisoformat(time),
        "subject": user,
        "datacontenttype": "application/json",
    }
    data = {
        "endpoint": "/v1/chat/completions",
        "model": "llama-3-8b",
        "statusCode": 200,
        "inputTokens": tokens_in,
        "outputTokens": tokens_out,
    }
    return to_structured_event(CloudEvent(attributes, data)).body


if __name__ == "__main__":
    client = Tidemark(os.environ["TIDEMARK_URL"], os.environ["TIDEMARK_KEY"])
    time = sys.argv[1]
    refused = client.send([usage("sdk2-1", "ada", 150, 75, time), usage("sdk2-2", "ada", 10, 5, time)])
    sys.exit(f"refused: {refused}" if refused else 0)
