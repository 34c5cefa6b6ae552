#!/usr/bin/env python3
"""Sends hostile requests to a `tidemark up` of its own and prints what each costs.

    tests/hostile/measure.py target/release/tidemark [name ...]

For each request: status, seconds, the processor time of the process meanwhile (answers of /healthz
included; unlike seconds it hardly depends on what else the machine does), the peak memory of the
process (VmHWM) before and after, and the slowest answer of /healthz. Each request gets a fresh
process. Needs nothing but Python.
The bounds themselves are tested in tests/it (http::hostile); this is for numbers in a report.
"""
import gzip, http.client, json, os, re, shutil, socket, subprocess, sys, tempfile, threading, time

BODY_MAX = 32 << 20


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(tag, payload):
    return varint(tag << 3 | 2) + varint(len(payload)) + payload


def filled(begin, unit, end, size=BODY_MAX - 64):
    return begin + unit * ((size - len(begin) - len(end)) // len(unit)) + end


def text(key, value):
    return field(1, key) + field(2, field(1, value))


def empty_spans():
    spans = b"\x12\x00" * 8_000_000
    return field(1, field(2, spans))


def resource_json():
    attributes = ",".join('{"key":"k%d","value":{"stringValue":"v"}}' % n for n in range(100_000))
    span = (
        '{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"%016x","kind":3,'
        '"startTimeUnixNano":"1795330862123000000","endTimeUnixNano":"1795330862373000000",'
        '"attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}]}'
    )
    spans = ",".join(span % n for n in range(9_000))
    return (
        '{"resourceSpans":[{"resource":{"attributes":[%s]},"scopeSpans":[{"spans":[%s]}]}]}'
        % (attributes, spans)
    ).encode()


JSON, PROTOBUF, LINES = "application/json", "application/x-protobuf", "application/x-ndjson"
EVENTS = "/api/v1/events"
REQUESTS = {
    "events-array": (EVENTS, JSON, lambda: filled(b"[1", b",1", b"]")),
    "events-lines": (EVENTS, LINES, lambda: filled(b"", b"1\n", b"")),
    "litellm-array": (EVENTS + "/litellm", JSON, lambda: filled(b"[1", b",1", b"]")),
    "litellm-objects": (EVENTS + "/litellm", JSON, lambda: filled(b"[{}", b",{}", b"]")),
    "litellm-lines": (EVENTS + "/litellm", JSON, lambda: filled(b"{}\n", b"1\n", b"")),
    "litellm-fields": (EVENTS + "/litellm", JSON, lambda: filled(b'{"":1', b',"":1', b"}")),
    "litellm-broken-utf8": (EVENTS + "/litellm", JSON, lambda: filled(b'{"a":"', b"\xff", b'"}')),
    "openmeter-array": ("/litellm/openmeter/api/v1/events", JSON, lambda: filled(b"[1", b",1", b"]")),
    "lago-array": ("/litellm/lago/api/v1/events", JSON, lambda: filled(b"[1", b",1", b"]")),
    "otlp-empty-spans": (EVENTS + "/otlp", PROTOBUF, empty_spans),
    "otlp-json-spans": (
        EVENTS + "/otlp",
        JSON,
        lambda: filled(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}', b",{}", b"]}]}]}"),
    ),
    "otlp-json-scopes": (
        EVENTS + "/otlp",
        JSON,
        lambda: filled(b'{"resourceSpans":[{"scopeSpans":[{}', b",{}", b"]}]}"),
    ),
    "otlp-attributes": (EVENTS + "/otlp", JSON, resource_json),
}


class Up:
    def __init__(self, binary):
        self.data = tempfile.mkdtemp(prefix="tidemark-hostile-")
        command = [binary, "up", "--data", self.data, "--listen", "127.0.0.1:0"]
        self.output = open(os.path.join(self.data, "out.log"), "w+")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=self.output)
        deadline = time.time() + 60
        while time.time() < deadline:
            said = open(self.output.name).read()
            found = re.search(r"POST http://([\d.]+):(\d+)/api", said)
            if found:
                break
            time.sleep(0.1)
        else:
            raise SystemExit("it does not start:\n" + said)
        self.address = (found[1], int(found[2]))
        self.key = open(os.path.join(self.data, "key")).read().strip()

    def memory(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def processor(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, path, kind, body, coding="gzip", timeout=300):
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        headers = {"Content-Type": kind, "Authorization": "Bearer " + self.key}
        if coding:
            headers["Content-Encoding"] = coding
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def health(self, ended, slowest):
        while not ended.is_set():
            begun = time.time()
            try:
                connection = http.client.HTTPConnection(*self.address, timeout=120)
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            except OSError:
                pass
            slowest[0] = max(slowest[0], time.time() - begun)
            time.sleep(0.005)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.data, ignore_errors=True)


def one(binary, name):
    path, kind, make = REQUESTS[name]
    plain = make()
    body = gzip.compress(plain, 9)
    up = Up(binary)
    try:
        before, ended, slowest = up.memory(), threading.Event(), [0.0]
        worked = up.processor()
        watcher = threading.Thread(target=up.health, args=(ended, slowest))
        watcher.start()
        begun = time.time()
        try:
            status, answer = up.post(path, kind, body)
        except OSError as error:
            status, answer = str(error), b""
        took, worked = time.time() - begun, up.processor() - worked
        ended.set()
        watcher.join()
        print(
            f"{name:20} {len(body) / 1024:7.1f} KiB -> {len(plain) / 1048576:5.1f} MiB  status {status}"
            f"  {took:6.2f} s ({worked:.2f} s of processor)  memory {before:6.0f} -> {up.memory():6.0f} MiB"
            f"  answer {len(answer) / 1024:6.0f} KiB  /healthz {slowest[0] * 1000:6.0f} ms",
            flush=True,
        )
    finally:
        up.stop()


def half_sent(binary, count=1_000, after=30.0, warm=False):
    """Half a request on each of `count` connections; `warm`: behind a whole one on the same connection."""
    up = Up(binary)
    try:
        sockets = []
        refused = 0
        for _ in range(count):
            try:
                one = socket.create_connection(up.address, timeout=5)
                if warm:
                    one.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    one.recv(65536)
                one.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-A: ")
                one.setblocking(False)
                sockets.append(one)
            except OSError:
                refused += 1
        time.sleep(after)
        is_open = 0
        for one in sockets:
            try:
                while one.recv(65536):
                    pass
            except BlockingIOError:
                is_open += 1
            except OSError:
                pass
        name = "half-sent-warm" if warm else "half-sent"
        print(f"{name:20} {count} connections, open after {after:.0f} s: {is_open}; memory {up.memory():.0f} MiB", flush=True)
    finally:
        up.stop()


def sign_in(binary, count=100):
    """Forms of 1 MiB to the sign-in page, at once; nobody needs a key for them."""
    up = Up(binary)
    try:
        before = up.memory()
        body = b"key=" + b"x" * ((1 << 20) - 4)
        statuses = {}

        def send():
            try:
                status, _ = up.post("/signin", "application/x-www-form-urlencoded", body, None)
            except OSError:
                status = "closed"
            statuses[status] = statuses.get(status, 0) + 1

        begun = time.time()
        threads = [threading.Thread(target=send) for _ in range(count)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(
            f"{'sign-in-forms':20} {count} x 1 MiB  status {statuses}  {time.time() - begun:.2f} s"
            f"  memory {before:.0f} -> {up.memory():.0f} MiB",
            flush=True,
        )
    finally:
        up.stop()


def main():
    binary, *names = sys.argv[1:]
    others = {
        "half-sent": half_sent,
        "half-sent-warm": lambda binary: half_sent(binary, warm=True),
        "sign-in-forms": sign_in,
    }
    for name in names or [*REQUESTS, *others]:
        if name in REQUESTS:
            one(binary, name)
        else:
            others[name](binary)


if __name__ == "__main__":
    main()
