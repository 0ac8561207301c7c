"""The part of Telegram's Bot API that a gateway's bot uses.

Tests ask it:
    POST /_say {"chat_id", "text", "username"}      somebody writes to the bot
    GET  /_sent                                     what the bot sent: {method, chat_id, text, ...}
    GET  /_wait?text=T                              the first of it whose text contains T, once it is there
"""

import time

from desk import Desk, Handler, listen


class Telegram(Desk):
    def __init__(self):
        super().__init__()
        self.updates = []
        self.sent = []
        self.message = 500

    def next_message(self):
        self.message += 1
        return self.message

    def said(self, body):
        chat, name = body.get("chat_id", 1001), body.get("username", "bob")
        person = {"id": chat, "first_name": name, "username": name}

        def add():
            message = {
                "message_id": self.next_message(),
                "date": int(time.time()),
                "from": {**person, "is_bot": False},
                "chat": {**person, "type": "private"},
                "text": body["text"],
            }
            self.updates.append({"update_id": len(self.updates) + 1, "message": message})
            return message["message_id"]

        return {"message_id": self.change(add)}

    def news(self, body):
        offset, patience = int(body.get("offset") or 0), min(float(body.get("timeout") or 0), 20)
        found = lambda: [update for update in self.updates if update["update_id"] >= offset]
        return self.wait(found, patience) or []

    def send(self, method, body):
        def add():
            message = int(body.get("message_id") or self.next_message())
            self.sent.append({"method": method, **body, "message_id": message})
            return message

        chat = {"id": int(body.get("chat_id") or 0), "type": "private"}
        return {"message_id": self.change(add), "date": int(time.time()), "chat": chat, "text": body.get("text", "")}

    def call(self, method, body):
        if method == "getUpdates":
            return self.news(body)
        if method == "sendChatAction":
            return True
        if method.startswith(("send", "editMessage")):
            return self.send(method, body)
        return {**FIXED, "getChat": {"id": int(body.get("chat_id") or 0), "type": "private"}}.get(method, True)


BOT = {"id": 42, "is_bot": True, "first_name": "Scripted", "username": "scripted_bot"}
FIXED = {
    "getMe": {**BOT, "can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False},
    "getWebhookInfo": {"url": "", "has_custom_certificate": False, "pending_update_count": 0},
    "getMyCommands": [],
}


def telegram_server(telegram):
    class Api(Handler):
        def answer(self, path, query, body):
            if path == "/_say":
                return 200, telegram.said(body)
            if path == "/_sent":
                return 200, telegram.sent
            if path == "/_wait":
                wanted = lambda sent: query["text"] in str(sent.get("text", ""))
                found = telegram.wait(lambda: next(filter(wanted, list(telegram.sent)), None))
                return (200, found) if found else (504, {})
            method = path.rsplit("/", 1)[-1]
            return 200, {"ok": True, "result": telegram.call(method, {**query, **body})}

    return listen(Api)
