"""A model that does what the message tells it: the provider behind a gateway under test.

A message may contain `script:` and a JSON object:
    say     what is replied: a text, or a list of texts that are sent one by one
    gate    a name: before each text it waits until a test opens that gate once
    fail    a status: the provider answers that instead
    tool    {"name", "arguments"}: asks for a tool first, and then says what came of it
Without one it replies `heard: ` and the end of the message.

Tests ask it:
    GET  /_runs                     every request so far: {text, messages, state}; state is running, answered or left
    GET  /_wait?text=T&state=S      the first run whose message contains T, once it is in that state
    POST /_open {"gate": G}         opens a gate once
"""

import json
import re
import select
import socket

from desk import Desk, Handler, listen


class Model(Desk):
    def __init__(self):
        super().__init__()
        self.runs = []
        self.opened = {}

    def start(self, text, messages):
        run = {"text": text, "messages": messages, "state": "running"}
        self.change(lambda: self.runs.append(run))
        return run

    def open(self, gate):
        self.change(lambda: self.opened.__setitem__(gate, self.opened.get(gate, 0) + 1))

    def pass_gate(self, gate, connection):
        """Waits for the gate; false when who asked left meanwhile."""
        while True:
            with self.changed:
                # A gateway that leaves is seen on its connection, which no condition tells of.
                if self.changed.wait_for(lambda: self.opened.get(gate, 0) > 0, 0.05):
                    self.opened[gate] -= 1
                    return True
            if has_left(connection):
                return False


def has_left(connection):
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def script_of(text):
    at = text.rfind("script:{")
    if at < 0:
        return {"say": "heard: " + text[-80:]}
    try:
        return json.JSONDecoder().raw_decode(text[at + len("script:") :])[0]
    except ValueError:
        return {"say": "that is no script"}


def asked(messages):
    """The last message of a person, and what tools said after it. Gateways add messages of their own."""
    people = [at for at, message in enumerate(messages) if message.get("role") == "user" and is_told(message)]
    if not people:
        return "", []
    tools = [message for message in messages[people[-1] + 1 :] if message.get("role") == "tool"]
    return text_of(messages[people[-1]].get("content")), tools


def is_told(message):
    return not re.match(r"\s*<<<BEGIN_OPENCLAW", text_of(message.get("content")))


def model_server(model):
    class Provider(Handler):
        def answer(self, path, query, body):
            if path == "/_runs":
                return 200, model.runs
            if path == "/_open":
                model.open(body["gate"])
                return 200, {}
            if path == "/_wait":
                wanted = lambda run: query["text"] in run["text"] and run["state"] == query["state"]
                found = model.wait(lambda: next(filter(wanted, list(model.runs)), None))
                return (200, found) if found else (504, {})
            if path.endswith("/models"):
                return 200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
            self.reply(body.get("messages") or [], body.get("stream"))
            return None

        def reply(self, messages, stream):
            text, tools = asked(messages)
            script, run = script_of(text), model.start(text, len(messages))
            state = "left"
            try:
                if self.perform(script, tools, stream):
                    state = "answered"
            except OSError:
                pass
            finally:
                self.close_connection = True
                model.change(lambda: run.__setitem__("state", state))

        def perform(self, script, tools, stream):
            if "fail" in script:
                self.say(script["fail"], {"error": {"message": "the script says so", "type": "server_error"}})
                return True
            said = script.get("say", "")
            texts = said if isinstance(said, list) else [said]
            if tools:
                texts = ["the tool said: " + text_of(tools[-1].get("content"))[:300]]
            wants_tool = script.get("tool") if not tools else None
            if not stream:
                return self.whole(script, texts)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.chunk({"role": "assistant", "content": ""})
            if wants_tool:
                self.chunk({"tool_calls": [call_of(wants_tool)]})
                return self.end("tool_calls")
            for text in texts:
                if "gate" in script and not model.pass_gate(script["gate"], self.connection):
                    return False
                self.chunk({"content": text})
            return self.end("stop")

        def whole(self, script, texts):
            if "gate" in script and not all(model.pass_gate(script["gate"], self.connection) for _ in texts):
                return False
            message = {"role": "assistant", "content": "".join(texts)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.say(200, {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE})
            return True

        def chunk(self, delta, reason=None, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            document = {**ENVELOPE, "object": "chat.completion.chunk", "choices": [choice], **more}
            self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")
            self.wfile.flush()

        def end(self, reason):
            self.chunk({}, reason, usage=USAGE)
            self.wfile.write(b"data: [DONE]\n\n")
            self.wfile.flush()
            return True

    return listen(Provider)


def call_of(tool):
    function = {"name": tool["name"], "arguments": json.dumps(tool["arguments"])}
    return {"index": 0, "id": "call_1", "type": "function", "function": function}


ENVELOPE = {"id": "chatcmpl-scripted", "created": 1, "model": "scripted"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
