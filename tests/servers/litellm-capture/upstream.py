"""Providers that answer by themselves, in the forms of OpenAI, Anthropic and Cohere."""

import json
import time
from http.server import BaseHTTPRequestHandler

TEXT = "A mock answer."


def chat(model, cached=0, reasoning=0):
    usage = {"prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230}
    usage["prompt_tokens_details"] = {"cached_tokens": cached}
    usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    message = {"role": "assistant", "content": TEXT}
    return {
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1795395000, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage,
    }


def response(model, status, id="resp_mock"):
    usage = {
        "input_tokens": 1200, "output_tokens": 130, "total_tokens": 1330,
        "input_tokens_details": {"cached_tokens": 1000}, "output_tokens_details": {"reasoning_tokens": 100},
    }
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    output = [{"type": "message", "id": "msg_mock", "status": "completed", "role": "assistant", "content": content}]
    done = status == "completed"
    return {
        "id": id, "object": "response", "created_at": 1795395000, "model": model, "status": status,
        "background": id == "resp_background", "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "output": output if done else [], "usage": usage if done else None,
    }


ANTHROPIC_USAGE = {
    "input_tokens": 200, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 50, "output_tokens": 30,
}


def message(model, usage=ANTHROPIC_USAGE):
    return {
        "id": "msg_mock", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    polls = 0

    def log_message(self, *_):
        pass

    def send(self, body, status=200, content_type="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except BrokenPipeError:
            # Whoever asked has timed out.
            pass

    def send_events(self, events, named=False):
        lines = []
        for event in events:
            if named:
                lines.append(f"event: {event['type']}")
            lines.append(f"data: {event if isinstance(event, str) else json.dumps(event)}\n")
        self.send("\n".join(lines + [""]).encode(), content_type="text/event-stream")

    def do_GET(self):
        if "/responses/" in self.path:
            # It is done at the second look.
            Upstream.polls += 1
            status = "completed" if Upstream.polls > 1 else "in_progress"
            self.send(response("o4-mini", status, id="resp_background"))
        else:
            self.send({"error": {"message": "no such route"}}, 404)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            asked = json.loads(raw)
        except ValueError:
            asked = {}
        model = asked.get("model", "")
        if model.startswith("status-"):
            status = int(model.removeprefix("status-"))
            return self.send({"error": {"message": "the mock refuses", "type": "mock", "code": str(status)}}, status)
        if model == "slow":
            time.sleep(3)
        path = self.path.split("?")[0]
        if path.endswith("/chat/completions"):
            self.answer_chat(asked, model)
        elif path.endswith("/responses"):
            self.answer_responses(asked, model)
        elif path.endswith("/messages"):
            self.answer_messages(asked, model)
        elif path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
            self.send({"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 9, "total_tokens": 9}})
        elif path.endswith("/images/generations"):
            usage = {"input_tokens": 12, "output_tokens": 4160, "total_tokens": 4172,
                     "input_tokens_details": {"text_tokens": 12, "image_tokens": 0}}
            self.send({"created": 1795395000, "data": [{"b64_json": "AAAA"}, {"b64_json": "AAAA"}], "usage": usage})
        elif path.endswith("/moderations"):
            result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.1},
                      "category_applied_input_types": {"violence": ["text"]}}
            self.send({"id": "modr-mock", "model": model, "results": [result]})
        elif path.endswith("/rerank"):
            units = {"billed_units": {"search_units": 1}}
            self.send({"id": "rerank-mock", "results": [{"index": 0, "relevance_score": 0.9}], "meta": units})
        elif path.endswith("/audio/transcriptions"):
            self.send({"text": TEXT, "duration": 12.5, "language": "english", "task": "transcribe", "segments": [],
                       "usage": {"type": "duration", "seconds": 13}})
        elif path.endswith("/audio/speech"):
            self.send(b"\x00" * 64, content_type="audio/mpeg")
        else:
            self.send({"error": {"message": f"no such route: {path}"}}, 404)

    def answer_chat(self, asked, model):
        whole = chat(model, cached=1000, reasoning=20 if model.startswith("o4") else 0)
        if not asked.get("stream"):
            return self.send(whole)
        def chunk(delta, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish", None)}
            return {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1795395000, "model": model,
                    "choices": [choice], **more}
        events = [chunk({"role": "assistant", "content": "A mock"}), chunk({"content": " answer."}),
                  chunk({}, finish="stop")]
        if (asked.get("stream_options") or {}).get("include_usage"):
            events.append({**chunk({}), "choices": [], "usage": whole["usage"]})
        self.send_events(events + ["[DONE]"])

    def answer_responses(self, asked, model):
        if asked.get("background"):
            return self.send(response(model, "queued", id="resp_background"))
        whole = response(model, "completed")
        if not asked.get("stream"):
            return self.send(whole)
        started = response(model, "in_progress")
        delta = {"type": "response.output_text.delta", "item_id": "msg_mock", "output_index": 0, "content_index": 0,
                 "delta": TEXT, "sequence_number": 1}
        self.send_events([
            {"type": "response.created", "response": started, "sequence_number": 0}, delta,
            {"type": "response.completed", "response": whole, "sequence_number": 2},
        ], named=True)

    def answer_messages(self, asked, model):
        if not asked.get("stream"):
            return self.send(message(model))
        start = message(model, {**ANTHROPIC_USAGE, "output_tokens": 1})
        start["content"], start["stop_reason"] = [], None
        self.send_events([
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": 30}},
            {"type": "message_stop"},
        ], named=True)
