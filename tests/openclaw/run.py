#!/usr/bin/env python3
"""Runs one real OpenClaw gateway on loopback, with a model and a Telegram of the tests' own behind it.

    run.py NAME FOLDER OPENCLAW

Keeps everything in FOLDER/NAME, says in FOLDER/NAME.json how to reach it once it is ready, and ends by TERM.
Tests ask its control:
    POST /kill                      ends the gateway at once, as a crash would
    POST /stop                      asks it to end, and waits for that
    POST /start {"chat", "auth"}    starts it, if it doesn't run, and waits until it is ready ("wait": false: doesn't);
                                    "chat": false disables chat completions; "auth": "password" takes the token as a password
    POST /be {"chat", "auth"}       the same, but one that runs in another way is started anew
    GET  /log                       what it logged
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from desk import Handler, listen
from model import Model, model_server
from telegram import Telegram, telegram_server

# A start takes about ten seconds, and a multiple of that on a busy machine.
PATIENCE = 300.0


class Gateway:
    def __init__(self, name, folder, program):
        self.name, self.folder, self.program = name, os.path.join(folder, name), program
        self.token = f"token-of-{name}-0123456789abcdef"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model, self.telegram = model_server(Model()), telegram_server(Telegram())
        self.process, self.way = None, {}
        for part in ["state", "home", "workspace"]:
            os.makedirs(os.path.join(self.folder, part))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def start(self, wanted):
        if self.process is not None:
            return self.until_ready()
        self.way = {key: wanted[key] for key in ["chat", "auth"] if key in wanted}
        config = self.path("state", "openclaw.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(self.config(wanted), file)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.path("home"),
            "OPENCLAW_STATE_DIR": self.path("state"),
            "OPENCLAW_CONFIG_PATH": config,
            "OPENCLAW_HIDE_BANNER": "1",
            "NO_COLOR": "1",
        }
        # It dies with this process, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", self.program, "gateway", "run", "--port", str(self.port)]
        with open(self.path("gateway.log"), "ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self.until_ready() if wanted.get("wait", True) else None

    def be(self, wanted):
        if self.process is not None and (self.process.poll() is not None or self.way != wanted):
            self.end(signal.SIGKILL)
        return self.start(wanted)

    def until_ready(self):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                self.process = None
                return "it ended"
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=5) as answer:
                    if json.load(answer)["ready"]:
                        return None
            except (OSError, ValueError, urllib.error.URLError):
                pass
            time.sleep(0.1)
        return "it does not become ready"

    def end(self, number):
        if self.process is None:
            return
        group, self.process = self.process, None
        for sent in [number, signal.SIGKILL]:
            try:
                os.killpg(group.pid, sent)
                group.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        group.wait()

    def config(self, wanted):
        secret = {"password": self.token} if wanted.get("auth") == "password" else {"token": self.token}
        model = {
            "id": "scripted",
            "name": "Scripted",
            "reasoning": False,
            "input": ["text"],
            "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
            "contextWindow": 1000000,
            "maxTokens": 100000,
        }
        provider = {
            "baseUrl": self.model + "/v1",
            "apiKey": "of-nothing",
            "api": "openai-completions",
            "models": [model],
        }
        return {
            "gateway": {
                "mode": "local",
                "port": self.port,
                "bind": "loopback",
                "auth": {"mode": wanted.get("auth", "token"), **secret},
                "http": {"endpoints": {"chatCompletions": {"enabled": wanted.get("chat", True)}}},
                "controlUi": {"enabled": False},
                "reload": {"mode": "off"},
            },
            "models": {"mode": "replace", "providers": {"tests": provider}},
            "agents": {
                "defaults": {
                    "workspace": self.path("workspace"),
                    "model": {"primary": "tests/scripted"},
                    "heartbeat": {"every": "0m"},
                    "skipBootstrap": True,
                }
            },
            "discovery": {"mdns": {"mode": "off"}},
            "update": {"checkOnStart": False},
            "channels": {
                "telegram": {
                    "enabled": True,
                    "botToken": "123456:OFTESTS",
                    "apiRoot": self.telegram,
                    "dmPolicy": "open",
                    "allowFrom": ["*"],
                }
            },
            # A command that an agent runs needs an approval, so that there are some.
            "tools": {"exec": {"host": "gateway", "security": "allowlist", "ask": "always"}},
            "commands": {"ownerAllowFrom": ["telegram:1001", "1001"]},
        }


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def control_server(gateway, commands):
    class Control(Handler):
        def answer(self, path, query, body):
            if path == "/log":
                with open(gateway.path("gateway.log"), encoding="utf-8", errors="replace") as log:
                    return 200, {"log": log.read()}
            # A process that is to die with this one has to be started by its first thread.
            done = queue.SimpleQueue()
            commands.put((path, body, done))
            problem = done.get()
            return (200, {}) if problem is None else (500, {"error": problem})

    return listen(Control)


def obey(gateway, path, body):
    if path == "/start":
        return gateway.start(body)
    if path == "/be":
        return gateway.be(body)
    if path == "/kill":
        return gateway.end(signal.SIGKILL)
    if path == "/stop":
        return gateway.end(signal.SIGTERM)
    return f"there is no {path}"


def main():
    name, folder, program = sys.argv[1:]
    # Unlike a queue of the usual kind it may be put to by a signal.
    commands = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: commands.put(None))
    gateway = Gateway(name, folder, program)
    control = control_server(gateway, commands)
    problem = gateway.start({})
    if problem is None:
        found = {
            "name": name,
            "url": gateway.url,
            "token": gateway.token,
            "model": gateway.model,
            "telegram": gateway.telegram,
            "control": control,
            "openclaw": program,
        }
        written = os.path.join(folder, name + ".json")
        with open(written + ".new", "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)
        os.rename(written + ".new", written)
        while (command := commands.get()) is not None:
            path, body, done = command
            done.put(obey(gateway, path, body))
    gateway.end(signal.SIGTERM)
    sys.exit(problem)


main()
