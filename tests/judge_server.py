"""A real HTTP server on a real socket that speaks the chat-completions protocol and misbehaves on request."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends. `body` is sent as it is, when given; `hang` keeps the line open and says
    nothing, `drip` sends a byte now and then and never ends."""

    content: str | None = "It is there.\nRating: [[2]]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 7})
    refusal: str | None = None
    finish: str = "stop"
    body: str | None = None
    hang: bool = False
    drip: bool = False


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    key: str
    payload: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The user's message."""
        return self.payload["messages"][-1]["content"]


class _Socket(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 turns the sixth client away


class JudgeServer:
    """`answer(number, seen)` decides each reply; `number` counts requests from 0. Everything seen is kept."""

    def __init__(self, answer: Callable[[int, Seen], Reply]) -> None:
        self.answer, self.seen = answer, []
        self.most_in_flight = self._in_flight = 0
        self._lock, self.closing = threading.Lock(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
                seen = Seen(self.path, self.headers.get("authorization", ""), payload)
                with outer._lock:
                    number = len(outer.seen)
                    outer.seen.append(seen)
                    outer._in_flight += 1
                    outer.most_in_flight = max(outer.most_in_flight, outer._in_flight)
                try:
                    self._send(outer.answer(number, seen), payload["model"])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has given up
                finally:
                    with outer._lock:
                        outer._in_flight -= 1

            def _send(self, reply: Reply, model: str) -> None:
                if reply.hang:
                    outer.closing.wait()
                    self.close_connection = True
                    return
                body = (reply.body if reply.body is not None else _completion(reply, model)).encode()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(10**9 if reply.drip else len(body)))
                self.end_headers()
                if reply.drip:
                    while not outer.closing.wait(0.02):
                        self.wfile.write(b" ")
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Socket(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(*replies: Reply, answer: Callable[[int, Seen], Reply] | None = None) -> Iterator[JudgeServer]:
    """A running server that gives the replies in turn, the last one for ever, or whatever `answer` decides."""
    server = JudgeServer(answer or (lambda number, _: replies[min(number, len(replies) - 1)]))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def text_of(prompt: str) -> str:
    """The text under judgement, read out of the last fence of a prompt."""
    return re.findall(r"--- begin (\w+) ---\n(.*?)\n--- end \1 ---", prompt, re.DOTALL)[-1][1]


def _completion(reply: Reply, model: str) -> str:
    if reply.status >= 400:
        return json.dumps({"error": {"message": "something went wrong", "type": "test", "code": None}})
    message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": f"{model}-served", "choices": [choice]}
    return json.dumps(whole | ({"usage": reply.usage} if reply.usage is not None else {}))
