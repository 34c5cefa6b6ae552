"""The CloudEvents SDK for Python, generation 1 (cloudevents 1.x), with batches and retries."""

import os
import sys

from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent

from tidemark import Tidemark


def usage(request_id, user, tokens_in, tokens_out, time):
    attributes = {
        "type": "tidemark.usage.v1",
        "source": "gateway-eu-1",
        "id": request_id,
        "time": time,
        "subject": user,
    }
    data = {
        "endpoint": "/v1/chat/completions",
        "model": "llama-3-8b",
        "statusCode": 200,
        "inputTokens": tokens_in,
        "outputTokens": tokens_out,
    }
    _, body = to_structured(CloudEvent(attributes, data))
    return body


if __name__ == "__main__":
    client = Tidemark(os.environ["TIDEMARK_URL"], os.environ["TIDEMARK_KEY"])
    time = sys.argv[1]
    refused = client.send([usage("sdk1-1", "ada", 150, 75, time), usage("sdk1-2", "ada", 10, 5, time)])
    sys.exit(f"refused: {refused}" if refused else 0)
