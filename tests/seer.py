"""A scripted vision-language model on loopback: an OpenAI-compatible server that answers as it is told and remembers what it was asked."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 900, "completion_tokens": 30}


class Seer:
    """Attributes:
    says: the next answers' text, or (status, body).
    asked: bodies of the requests so far.
    keys: their Authorization headers.
    answers: cleared, it keeps whoever asks waiting.
    """

    def __init__(self, url):
        self.url, self.says, self.asked, self.keys = url, "the pin is left of the hole", [], []
        self.answers = threading.Event()
        self.answers.set()

    def pictures(self, k=-1):
        """Captions and data URLs of a request."""
        content = self.asked[k]["messages"][-1]["content"]
        return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]

    def question(self, k=-1):
        return self.asked[k]["messages"][-1]["content"][-1]["text"]


@contextlib.contextmanager
def seer():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.append(json.loads(body))
            made.keys.append(self.headers["Authorization"])
            made.answers.wait(30)
            says = made.says
            status, answer = says if isinstance(says, tuple) else (200, json.dumps({
                "model": "qwen-vl", "choices": [{"message": {"role": "assistant", "content": says}}], "usage": USAGE,
            }).encode())  # fmt: skip
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            with contextlib.suppress(OSError):  # who asked has hung up
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Seer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
