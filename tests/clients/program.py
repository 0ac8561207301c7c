"""Starts clawhand for a test: a server on a loopback port with data of its own, and a key for it.

How the program is called stands in program.json, for flow_sdk.py and flow_inspector.mjs alike. CLAWHAND_BIN names the
program; with CLAWHAND_URL (and CLAWHAND_KEY) a server that runs already is used instead.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CALLS = json.loads(Path(os.environ.get("CLAWHAND_PROGRAM", HERE / "program.json")).read_text())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def longest_text(value):
    """The longest text in a JSON value: of all that `keys create` prints, the key itself."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return max((longest_text(item) for item in value), key=len, default="")
    return value if isinstance(value, str) else ""


class Program:
    """A clawhand with its own data; `with Program() as program:` ends it and removes the data."""

    def __init__(self):
        self.binary = os.environ.get("CLAWHAND_BIN", str(ROOT / "target" / "debug" / "clawhand"))
        self.url = os.environ.get("CLAWHAND_URL")
        self.key = os.environ.get("CLAWHAND_KEY", "")
        self.data = tempfile.mkdtemp(prefix="clawhand-clients.")
        self.server = None
        self.port = free_port()
        places = {"data": self.data, "port": str(self.port)}
        self.env = {name: value.format(**places) for name, value in CALLS["env"].items()}

    def command(self, call):
        return [self.binary, *(word.format(data=self.data, port=self.port) for word in CALLS[call])]

    def __enter__(self):
        if self.url:
            return self
        env = os.environ | self.env
        made = subprocess.run(self.command("key"), env=env, cwd=ROOT, capture_output=True, text=True)
        if made.returncode != 0:
            raise SystemExit(f"no key could be made: {made.stderr.strip()}")
        self.key = key_in(made.stdout)
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.log = open(os.path.join(self.data, "serve.log"), "w")
        self.server = subprocess.Popen(
            self.command("serve"), env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        self.wait_until_it_listens()
        return self

    def wait_until_it_listens(self):
        until = time.monotonic() + 30
        while time.monotonic() < until and self.server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server did not start:\n" + self.last_words())

    def last_words(self):
        return Path(self.data, "serve.log").read_text()[-4000:]

    def __exit__(self, *_):
        if self.server:
            self.server.terminate()
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
            self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)


def key_in(printed):
    """The key in the output of `keys create`, as JSON or as words."""
    try:
        return longest_text(json.loads(printed))
    except ValueError:
        return max(printed.split(), key=len)
