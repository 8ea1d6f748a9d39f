"""A cloud of our own for the end-to-end tests: it speaks OpenAI's dialect, and behaves as the prompt says."""

import http.server
import json
import threading

from pictures import png

GOOD_KEY = "sk-good"
# What a prompt must say to be turned away, and how: status and code.
REFUSALS = {"refused": (400, "content_policy_violation")}
# A prompt that says this gets a link that leads nowhere.
LOST = "lost"


class Provider:
    """Draws whatever it is asked for, with a good key. It also takes callbacks, every third of which it does not understand."""

    def __init__(self):
        callbacks = self.callbacks = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body=b"", media_type="application/json"):
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def refuse(self, status, code):
                self.answer(status, json.dumps({"error": {"code": code, "message": code}}).encode())

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/callback":
                    callbacks.append(body)
                    return self.answer(500 if len(callbacks) % 3 == 0 else 204)
                if self.headers["Authorization"] != f"Bearer {GOOD_KEY}":
                    return self.refuse(401, "invalid_api_key")
                for word, refusal in REFUSALS.items():
                    if word in body["prompt"]:
                        return self.refuse(*refusal)
                name = "nothing" if LOST in body["prompt"] else "picture.png"
                link = f"http://{self.headers['Host']}/files/{name}"
                return self.answer(200, json.dumps({"created": 1, "data": [{"url": link}]}).encode())

            def do_GET(self):
                if self.path == "/files/picture.png":
                    return self.answer(200, png(64), "image/png")
                return self.answer(404)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
