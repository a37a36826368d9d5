"""An OTLP receiver (HTTP, protobuf) for one recording at a time, and the files that are kept of it."""

import gzip
import json
import struct
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What no rule could read and every span repeats.
DROPPED = {"http.user_agent", "user_agent.original", "network.protocol.name", "thread.name", "process.pid",
           "process.runtime.description", "process.command_args", "process.command"}
MOST_REQUESTS = 400
QUIET_S, LONGEST_S = 0.9, 12


class Collector:
    def __init__(self):
        self.bodies, self.lock, self.last = [], threading.Lock(), 0.0
        collector = self

        class Intake(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.body()
                if self.headers.get("content-encoding") == "gzip":
                    body = zlib.decompress(body, wbits=31)
                if self.path.endswith("/traces"):
                    with collector.lock:
                        collector.bodies.append(body)
                        collector.last = time.monotonic()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def body(self):
                if "chunked" not in self.headers.get("transfer-encoding", ""):
                    return self.rfile.read(int(self.headers.get("content-length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Intake)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def settle(self):
        """Waits until nothing more arrives."""
        begin = time.monotonic()
        while time.monotonic() - begin < LONGEST_S:
            time.sleep(0.1)
            if time.monotonic() - max(self.last, begin) > QUIET_S:
                return

    def take(self):
        with self.lock:
            bodies, self.bodies = self.bodies, []
        return bodies

    def end(self):
        self.server.shutdown()


# --- the wire: as much of protobuf as OTLP traces need, so that nothing has to be installed ---

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def fields(data):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        elif wire == 5:
            value, at = int.from_bytes(data[at:at + 4], "little"), at + 4
        else:
            raise ValueError(f"wire type {wire}")
        yield tag >> 3, value


def any_value(data):
    for number, value in fields(data):
        if number == 1:
            return {"stringValue": value.decode("utf-8", "replace")}
        if number == 2:
            return {"boolValue": bool(value)}
        if number == 3:
            return {"intValue": str(value - (1 << 64) if value >> 63 else value)}
        if number == 4:
            return {"doubleValue": struct.unpack("<d", value.to_bytes(8, "little"))[0]}
        if number == 5:
            return {"arrayValue": {"values": [any_value(v) for n, v in fields(value) if n == 1]}}
        if number == 6:
            return {"kvlistValue": {"values": [key_value(v) for n, v in fields(value) if n == 1]}}
    return {}


def key_value(data):
    found = dict(fields(data))
    return {"key": found.get(1, b"").decode(), "value": any_value(found.get(2, b""))}


def attributes(listed):
    found = [key_value(v) for v in listed]
    return [a for a in found if a["key"] not in DROPPED]


def span(data):
    found, listed, events, links = {}, [], [], []
    for number, value in fields(data):
        if number == 9:
            listed.append(value)
        elif number == 11:
            events.append(value)
        elif number == 13:
            links.append(value)
        else:
            found[number] = value
    out = {"traceId": found[1].hex(), "spanId": found[2].hex()}
    if found.get(4):
        out["parentSpanId"] = found[4].hex()
    out |= {"name": found.get(5, b"").decode(), "kind": found.get(6, 0), "startTimeUnixNano": str(found[7]),
            "endTimeUnixNano": str(found[8]), "attributes": attributes(listed)}
    if events:
        out["events"] = [event(e) for e in events]
    if links:
        out["links"] = [{"traceId": dict(fields(k))[1].hex(), "spanId": dict(fields(k))[2].hex()} for k in links]
    status = dict(fields(found.get(15, b"")))
    if status:
        out["status"] = {"code": status.get(3, 0)}
    return out


def event(data):
    listed = [v for n, v in fields(data) if n == 3]
    found = dict(fields(data))
    kept = [a for a in attributes(listed) if a["key"] != "exception.stacktrace"]
    return {"name": found.get(2, b"").decode(), "timeUnixNano": str(found.get(1, 0)), "attributes": kept}


def resource_spans(body):
    """Of one export: (resource, scope, span) each."""
    for number, one in fields(body):
        if number != 1:
            continue
        resource, scopes = [], []
        for n, value in fields(one):
            if n == 1:
                resource = attributes([v for m, v in fields(value) if m == 1])
            elif n == 2:
                scopes.append(value)
        for scope_spans in scopes:
            scope, spans = {}, []
            for n, value in fields(scope_spans):
                if n == 1:
                    known = dict(fields(value))
                    scope = {"name": known.get(1, b"").decode(), "version": known.get(2, b"").decode()}
                elif n == 2:
                    spans.append(value)
            for one_span in spans:
                yield resource, scope, span(one_span)


# --- what is kept ---

def write(bodies, path):
    """Whole traces as OTLP JSON lines, one a resource and scope; health checks of the start left out, ids counted anew."""
    rows = [row for body in bodies for row in resource_spans(body)]
    health = {s["traceId"] for _, _, s in rows if "parentSpanId" not in s and s["name"].endswith(("/health", "/healthz"))}
    rows = [row for row in rows if row[2]["traceId"] not in health]
    rows.sort(key=lambda row: int(row[2]["startTimeUnixNano"]))
    traces = list(dict.fromkeys(row[2]["traceId"] for row in rows))[:MOST_REQUESTS]
    numbers = {trace: n + 1 for n, trace in enumerate(traces)}
    ids = {}

    def renamed(identifier):
        return f"{ids.setdefault(identifier, len(ids) + 1):016x}"

    groups = {}
    for resource, scope, one in rows:
        if one["traceId"] not in numbers:
            continue
        one["traceId"] = f"{numbers[one['traceId']]:032x}"
        one["spanId"] = renamed(one["spanId"])
        if "parentSpanId" in one:
            one["parentSpanId"] = renamed(one["parentSpanId"])
        for link in one.get("links", []):
            link["traceId"] = f"{numbers.get(link['traceId'], 0):032x}"
            link["spanId"] = renamed(link["spanId"])
        groups.setdefault(json.dumps([resource, scope]), []).append(one)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, spans in groups.items():
        resource, scope = json.loads(key)
        lines.append(json.dumps({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [
            {"scope": scope, "spans": spans}]}]}, separators=(",", ":")))
    packed = gzip.compress("\n".join(lines).encode() + b"\n", 9, mtime=0)
    path.write_bytes(packed)
    return len(traces), sum(len(s) for s in groups.values()), len(packed)
