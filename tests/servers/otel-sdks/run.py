"""Runs each SDK against a provider with fixed answers. Usage: run.py HOME capture DIR | send URL KEY"""

import gzip
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

COUNTS = {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225,
          "prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens_details": {"reasoning_tokens": 50}}
EMBEDDINGS = {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 7, "total_tokens": 7},
              "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]}
RESPONSE = {
    "id": "resp_0123456789abcdef0123456789abcdef", "object": "response", "created_at": 1795394966, "status": "completed", "model": "gpt-4o-2024-08-06",
    "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "SECRET-ANSWER", "annotations": []}]}],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None,
    "metadata": {}, "temperature": 1.0, "top_p": 1.0,
    "usage": {"input_tokens": 150, "input_tokens_details": {"cached_tokens": 100}, "output_tokens": 75,
              "output_tokens_details": {"reasoning_tokens": 50}, "total_tokens": 225},
}
# Anthropic counts cached tokens beside the input.
MESSAGE = {
    "id": "msg_0123456789abcdef01234567", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "SECRET-ANSWER"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 30, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 75},
}


def chat(of, choices, **more):
    return {"id": f"chatcmpl-{of}0123456789abcdefghijklmnopq", "created": 1795394966, "model": "gpt-4o-2024-08-06", "choices": choices, **more}


CHAT = chat("A", [{"index": 0, "message": {"role": "assistant", "content": "SECRET-ANSWER"}, "finish_reason": "stop"}],
            object="chat.completion", usage=COUNTS)
CHUNKS = [
    chat("B", [{"index": 0, "delta": {"role": "assistant", "content": "SECRET-ANSWER"}, "finish_reason": None}], object="chat.completion.chunk"),
    chat("B", [{"index": 0, "delta": {}, "finish_reason": "stop"}], object="chat.completion.chunk"),
    chat("B", [], object="chat.completion.chunk", usage=COUNTS),
]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def body(self):
        length = self.headers["content-length"]
        body = self.rfile.read(int(length)) if length is not None else self.chunks()
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def chunks(self):
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Provider(Handler):
    def do_POST(self):
        asked = json.loads(self.body())
        if asked.get("model") == "broken":
            self.answer(503, b'{"error":{"message":"SECRET-ERROR","type":"server_error","code":null}}')
        elif asked.get("stream"):
            lines = [json.dumps(chunk) for chunk in CHUNKS] + ["[DONE]"]
            self.answer(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")
        else:
            ends = {"/embeddings": EMBEDDINGS, "/responses": RESPONSE, "/messages": MESSAGE}
            told = next((told for end, told in ends.items() if self.path.endswith(end)), CHAT)
            self.answer(200, json.dumps(told).encode())


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main():
    home, mode, target, *key = sys.argv[1:]
    here, home = pathlib.Path(__file__).parent, pathlib.Path(home)
    exported = []

    class Collector(Handler):
        def do_POST(self):
            exported.append((self.headers["content-type"], self.body()))
            self.answer(200, b"")

    provider = serve(Provider)
    collector = f"http://127.0.0.1:{serve(Collector)}/v1/traces" if mode == "capture" else f"{target}/v1/traces"
    environment = dict(os.environ, TRACELOOP_TRACE_CONTENT="true", OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true", NODE_PATH=f"{home}/node_modules")
    if key:
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"Authorization=Bearer%20{key[0]}"
    python = [(name, [f"{home}/{place}/bin/python", f"{here}/sdk.py", which]) for name, place, which in [
        ("python-official-openai", "official", "official"),
        ("python-openllmetry-openai", "openllmetry", "openllmetry-openai"),
        ("python-openllmetry-anthropic", "openllmetry", "openllmetry-anthropic"),
        ("python-pydantic-ai", "pydantic-ai", "pydantic-ai"),
    ]]
    # A module is found beside the packages that it imports.
    (home / "sdk.mjs").write_bytes((here / "sdk.mjs").read_bytes())
    javascript = [(f"js-{which}", ["node", f"{home}/sdk.mjs", which, form]) for which in ("official-openai", "openllmetry-openai", "vercel") for form in ("json", "protobuf")]
    for name, command in python + javascript:
        exported.clear()
        subprocess.run(command + [f"http://127.0.0.1:{provider}", collector], env=environment, check=True)
        if mode == "send":
            continue
        (kind, body), = exported
        extension = "json" if kind == "application/json" else "pb"
        pathlib.Path(target, f"{name}.{extension}").write_bytes(body)


main()
