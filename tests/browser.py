"""Headless Chromium for the tests of pages, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed: apt-get install chromium")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--autoplay-policy=no-user-gesture-required", "--mute-audio", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--remote-allow-origins=*"),
    "--remote-debugging-port=0",
)


class Browser:
    """One tab. `open` a page, `evaluate` JavaScript in it; `complaints` are its console errors and failed requests."""

    def __init__(self):
        import websocket

        self.folder = tempfile.mkdtemp(prefix="chromium-")
        command = [PROGRAM, *FLAGS, f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.complaints, self.events, self.sent = [], [], 0
        port, path = self._wait_for(Path(self.folder) / "DevToolsActivePort").split()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=120, max_size=None)
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, url: str | Path, width: int = 1200, dark: bool = False, print_: bool = False) -> None:
        """Load a page and wait until it has loaded, its resources too."""
        url = url.resolve().as_uri() if isinstance(url, Path) else url
        self.complaints.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="print" if print_ else "", features=colours)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.events:
            self._receive()

    def evaluate(self, expression: str):
        """The value of an expression, of its promise when it is one; an exception of the page is raised here."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description"))
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """One key down and up, as from a keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path, height: int | None = None, top: int = 0) -> None:
        """The page as PNG, all of it or `height` CSS pixels from `top` on."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))

    def call(self, method: str, **parameters) -> dict:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = self._receive()
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self) -> dict:
        message = json.loads(self.socket.recv())
        method, facts = message.get("method"), message.get("params", {})
        self.events.append(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(facts["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.complaints.append(str(facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(facts["entry"]["text"])
        elif method == "Network.loadingFailed" and not facts.get("canceled"):
            self.complaints.append(facts["errorText"])
        return message

    def _wait_for(self, path: Path, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if path.exists() and (text := path.read_text()).count("\n"):
                return text
            time.sleep(0.05)
        raise RuntimeError("Chromium did not start within a minute")
