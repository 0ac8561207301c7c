"""What the scripted servers share: answering in JSON, and waiting for something to happen instead of asking again."""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Nobody waits longer for what must happen: a gateway on a busy machine takes a minute for what usually takes a second.
LONG = 300.0


class Desk:
    """State that changes, and those who wait for it."""

    def __init__(self):
        self.changed = threading.Condition()

    def change(self, act):
        """Calls `act` alone, and wakes whoever waits."""
        with self.changed:
            found = act()
            self.changed.notify_all()
            return found

    def wait(self, found, seconds=LONG):
        """What `found` gives once it gives something; nothing when the time is up."""
        with self.changed:
            return self.changed.wait_for(found, seconds)


class Handler(BaseHTTPRequestHandler):
    """Answers by a method `answer(path, query, body)` that gives a status and what is said as JSON."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.handle_request()

    def do_POST(self):
        self.handle_request()

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = self.answer(url.path, query, self.parsed(raw))
        if answer is not None:
            self.say(*answer)

    def parsed(self, raw):
        kind = self.headers.get("content-type") or ""
        if "urlencoded" in kind:
            return dict(urllib.parse.parse_qsl(raw.decode()))
        try:
            return json.loads(raw or b"{}")
        except ValueError:
            return {}

    def say(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def listen(handler):
    """Starts a server on a free port of loopback; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
