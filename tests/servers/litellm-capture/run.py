"""Runs a real LiteLLM proxy, makes one call of each kind, and writes what its callback posted.

run.py VENV DIR writes one file per call: its name, and a JSON array of the payloads of the generic_api callback.
run.py VENV DIR SDK writes what the otel callback exported instead, in protobuf; SDK has OpenTelemetry's packages. The
calls of a folder of its own, DIR/MODE, are made for each of the ways in which the callback names its attributes.
"""

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from upstream import Upstream

HERE = pathlib.Path(__file__).parent
# The callback waits for its batch; a call that is told of at all is told of by then.
QUIET_SECONDS = 4


class Capture(BaseHTTPRequestHandler):
    bodies = []
    newest = time.monotonic()

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        Capture.bodies.append(body)
        Capture.newest = time.monotonic()
        # An exporter of spans sends again what is not answered by 200.
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def free_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Capture)
    server.server_close()
    return server.server_port


class Proxy:
    def __init__(self, venv, upstream, capture, callback="tidemark", more=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="litellm-capture-"))
        shutil.copy(HERE.parent / "litellm_auth.py", self.dir)
        config = (HERE / "config.yaml").read_text()
        for name, value in {"@UPSTREAM@": upstream, "@CAPTURE@": capture, "@CALLBACK@": callback}.items():
            config = config.replace(name, value)
        (self.dir / "config.yaml").write_text(config)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = dict(
            os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True", HF_HUB_OFFLINE="1", DEFAULT_BATCH_SIZE="1",
            DEFAULT_FLUSH_INTERVAL_SECONDS="1", LITELLM_MASTER_KEY="sk-0123456789abcdef0123456789abcdef-test",
            OPENAI_API_BASE=f"{upstream}/v1", OPENAI_API_KEY="sk-upstream-SECRET",
            ANTHROPIC_API_BASE=upstream, ANTHROPIC_API_KEY="sk-upstream-SECRET", **(more or {}),
        )
        command = [f"{venv}/bin/litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port),
                   "--telemetry", "False"]
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(command, cwd=self.dir, env=env, stdout=self.log, stderr=self.log)

    def wait(self):
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.url}/health/liveliness", timeout=2)
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        sys.exit(f"LiteLLM did not start:\n{(self.dir / 'log').read_text()[-3000:]}")

    def call(self, path, body=None, headers=None, method=None):
        """The status and the body."""
        headers = {"authorization": "Bearer sk-anna", **(headers or {})}
        if isinstance(body, dict):
            body, headers["content-type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir)


def prompt(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "PROMPT-SECRET"}], **more}


def transcription(proxy):
    boundary = "mock"
    parts = [('name="model"', b"whisper-1"), ('name="response_format"', b"verbose_json"),
             ('name="file"; filename="a.mp3"', b"\x00" * 64)]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + value + b"\r\n"
        for name, value in parts
    )
    body += f"--{boundary}--\r\n".encode()
    return proxy.call("/v1/audio/transcriptions", body, {"content-type": f"multipart/form-data; boundary={boundary}"})


def background(proxy):
    status, body = proxy.call("/v1/responses", {"model": "o4-mini", "input": "PROMPT-SECRET", "background": True})
    id = json.loads(body).get("id") if status == 200 else None
    for _ in range(3):
        time.sleep(1)
        status, body = proxy.call(f"/v1/responses/{id}")
    return status, body


def cached(proxy):
    first = prompt("gpt-4o", cache={"use-cache": True})
    proxy.call("/v1/chat/completions", first)
    time.sleep(1)
    return proxy.call("/v1/chat/completions", first)


def post(path, body, **more):
    return lambda proxy: proxy.call(path, body, **more)


CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ANTHROPIC = {"headers": {"anthropic-version": "2023-06-01"}}
CALLS = {
    "chat": post(CHAT, prompt("gpt-4o")),
    "chat_stream": post(CHAT, prompt("gpt-4o", stream=True)),
    "chat_stream_with_usage": post(CHAT, prompt("gpt-4o", stream=True, stream_options={"include_usage": True})),
    "chat_reasoning": post(CHAT, prompt("o4-mini")),
    "chat_end_user": post(CHAT, prompt("gpt-4o", user="customer-7")),
    "chat_nobody": post(CHAT, prompt("gpt-4o"), headers={"authorization": "Bearer sk-nobody"}),
    "chat_unnamed_deployment": post(CHAT, prompt("unnamed")),
    "chat_cache_hit": cached,
    "chat_anthropic": post(CHAT, prompt("claude-sonnet-4-5")),
    "chat_anthropic_stream": post(CHAT, prompt("claude-sonnet-4-5", stream=True)),
    "completions": post("/v1/completions", {"model": "gpt-4o", "prompt": "PROMPT-SECRET"}),
    "messages": post(MESSAGES, prompt("claude-sonnet-4-5", max_tokens=100), **ANTHROPIC),
    "messages_stream": post(MESSAGES, prompt("claude-sonnet-4-5", max_tokens=100, stream=True), **ANTHROPIC),
    "messages_of_openai": post(MESSAGES, prompt("gpt-4o", max_tokens=100), **ANTHROPIC),
    "responses": post(RESPONSES, {"model": "o4-mini", "input": "PROMPT-SECRET"}),
    "responses_stream": post(RESPONSES, {"model": "o4-mini", "input": "PROMPT-SECRET", "stream": True}),
    "responses_background": background,
    "embeddings": post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "PROMPT-SECRET"}),
    "images": post("/v1/images/generations", {"model": "gpt-image-1", "prompt": "PROMPT-SECRET", "n": 2}),
    "moderation": post("/v1/moderations", {"model": "omni-moderation-latest", "input": "PROMPT-SECRET"}),
    "rerank": post("/v1/rerank", {"model": "rerank-v3.5", "query": "PROMPT-SECRET", "documents": ["a", "b"]}),
    "transcription": transcription,
    "speech": post("/v1/audio/speech", {"model": "tts-1", "input": "PROMPT-SECRET", "voice": "alloy"}),
    "failure_429": post(CHAT, prompt("limited")),
    "failure_500": post(CHAT, prompt("broken")),
    "failure_400": post(CHAT, prompt("refused")),
    "failure_timeout": post(CHAT, prompt("slow")),
    "failure_unknown_model": post(CHAT, prompt("nothing-of-that-name")),
    "failure_messages_500": post(MESSAGES, prompt("broken", max_tokens=100), **ANTHROPIC),
    "failure_responses_500": post(RESPONSES, {"model": "broken", "input": "PROMPT-SECRET"}),
    "passthrough_openai": post("/openai/v1/chat/completions", prompt("gpt-4o")),
    "passthrough_anthropic": post("/anthropic/v1/messages", prompt("claude-sonnet-4-5", max_tokens=100), **ANTHROPIC),
}


OTEL_FEW = ["chat", "chat_stream", "chat_anthropic", "messages", "responses", "embeddings", "images", "failure_500"]
# How the otel callback is set up, and the calls that are made then.
OTEL_MODES = {
    "default": ({}, list(CALLS)),
    # Without the texts of prompts and answers, which also leaves out gen_ai.operation.name.
    "no_content": ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT"}, OTEL_FEW),
    # With the names of OpenTelemetry's newest conventions.
    "latest": ({"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}, OTEL_FEW),
    # LiteLLM's second exporter.
    "v2": ({"LITELLM_OTEL_V2": "true"}, OTEL_FEW),
    # A custom_auth that does not hand on the span of the request: then FastAPI's own span is the one around the call.
    "custom_auth": ({"AUTH_WITHOUT_SPAN": "1"}, ["chat"]),
    "custom_auth_own_span": ({"AUTH_WITHOUT_SPAN": "1", "USE_OTEL_LITELLM_REQUEST_SPAN": "true"}, ["chat"]),
}


def told():
    """What was posted since the last call, once nothing more comes."""
    Capture.newest = time.monotonic()
    while time.monotonic() - Capture.newest < QUIET_SECONDS:
        time.sleep(0.1)
    bodies, Capture.bodies = Capture.bodies, []
    return bodies


def payloads(venv, target):
    upstream = serve(Upstream)
    proxy = Proxy(venv, upstream, serve(Capture))
    try:
        proxy.wait()
        for name, call in CALLS.items():
            status, body = call(proxy)
            payloads = [payload for body in told() for payload in json.loads(body)]
            print(f"{name}: {status}, {len(payloads)} payloads: {body[:100]!r}", flush=True)
            text = "[\n" + ",\n".join(json.dumps(payload, ensure_ascii=False) for payload in payloads) + "\n]"
            # Ports differ each time and mean nothing.
            text = text.replace(upstream, "http://upstream").replace(proxy.url, "http://proxy")
            (target / f"{name}.json").write_text(text + "\n")
    finally:
        proxy.stop()


def spans(venv, target, sdk, mode):
    more, calls = OTEL_MODES[mode]
    target = target / mode
    target.mkdir(exist_ok=True)
    collector = serve(Capture)
    Upstream.polls = 0
    proxy = Proxy(venv, serve(Upstream), collector, "otel", {
        "PYTHONPATH": sdk, "OTEL_EXPORTER": "otlp_http", "OTEL_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "1000", **more,
    })
    try:
        proxy.wait()
        told()
        for name in calls:
            status, body = CALLS[name](proxy)
            bodies = told()
            print(f"{mode}/{name}: {status}, {len(bodies)} requests: {body[:100]!r}", flush=True)
            # Messages one behind the other are one message with the lists of all.
            (target / f"{name}.pb").write_bytes(b"".join(bodies))
    finally:
        proxy.stop()


def main(venv, target, sdk=None, *modes):
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    if sdk is None:
        return payloads(venv, target)
    for mode in modes or OTEL_MODES:
        spans(venv, target, sdk, mode)


main(*sys.argv[1:])
