"""A threaded service of Python's own library: one endpoint compares texts in pure Python, one turns rows into JSON, one
answers at once."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TITLES = [f"title number {n}" for n in range(2400)]
ROWS = [{"id": n, "title": title, "tags": ["a", "b"]} for n, title in enumerate(TITLES)] * 3


def similarity(left, right):
    same = 0
    for a in left:
        for b in right:
            if a == b:
                same += 1
    return same


def recommend(user):
    return [similarity("what the reader liked best", TITLES[(user + n) % 300]) for n in range(2400)]


def export():
    return json.dumps(ROWS, indent=1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/recommend"):
            body = json.dumps(recommend(7))
        elif self.path.startswith("/export"):
            body = export()
        else:
            body = "pong"
        body = body.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
