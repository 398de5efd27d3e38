"""A real headless Chromium, driven over its debugging pipe with nothing but the standard library.

What a page does is recorded as it happens: console messages, errors, requests, downloads.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WHY_NOT = "no Chromium on this machine (`chromium` on PATH), and what a page does can only be seen in a browser"
PATIENCE = 120  # seconds for one answer of the browser; a test that takes it has failed


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the descriptors that the browser's own are put on."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends)
    for end in ends:
        os.close(end)
    return high


class Chromium:
    """One browser with one page. Use as a context manager."""

    def __init__(self, *flags: str, width: int = 1400, height: int = 1000) -> None:
        self.profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        self.downloads = self.profile / "downloads"
        self.downloads.mkdir()
        self.console, self.errors, self.requests = [], [], []
        self.events, self.buffer, self.number = [], b"", 0
        (to_browser, self.write), (self.read, from_browser) = _high_pipe(), _high_pipe()
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                   "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   f"--window-size={width},{height}", f"--user-data-dir={self.profile}", *flags]  # fmt: skip

        def wire() -> None:  # Chromium reads from descriptor 3 and answers on 4
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, pass_fds=(3, 4), preexec_fn=wire, **quiet)
        os.close(to_browser)
        os.close(from_browser)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), eventsEnabled=True)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    session = None

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.write)
        self.process.kill()
        self.process.wait()
        os.close(self.read)
        shutil.rmtree(self.profile, ignore_errors=True)

    def ask(self, method: str, **parameters: object) -> dict:
        """Send one command and wait for its answer."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": parameters}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def _message(self) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], PATIENCE)
            part = os.read(self.read, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser gave no answer")
            self.buffer += part
        raw, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict) -> None:
        method, about = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a.get("description"))) for a in about["args"]))
        elif method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        self.events.append(method)

    def wait(self, event: str) -> None:
        """Until the browser reports an event that was not reported before."""
        while event not in self.events:
            self._message()
        self.events.clear()

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a file from disk and wait until the page says that it is ready."""
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.until("document.documentElement?.dataset.ready === 'yes' || !!document.querySelector('.failed')")

    def js(self, expression: str) -> object:
        """The value of an expression in the page, awaited."""
        found = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Until a condition holds in the page; asked on every frame of the page itself."""
        for _ in range(5):  # a navigation in between cuts the wait short
            try:
                frames = (
                    "new Promise((done) => { const look = () => (%s) ? done(true) : setTimeout(look, 15); look(); })"
                )
                self.js(frames % condition)
                return
            except RuntimeError as error:
                if "context" not in str(error).lower() and "navigat" not in str(error).lower():
                    raise
        raise RuntimeError(f"never held: {condition}")

    def settle(self) -> None:
        """Two frames, so that what a change set off is drawn."""
        self.js("new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 30))")

    def press(self, key: str) -> None:
        code = {"Enter": 13, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def click(self, selector: str) -> None:
        """A real click of the mouse in the middle of an element."""
        box = self.js(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.scrollIntoView({{block: 'center'}}); "
            "const r = node.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def downloaded(self, action: str) -> Path:
        """The file that a script in the page makes the browser save."""
        before = set(self.downloads.iterdir())
        self.events.clear()
        self.js(f"(() => {{ {action} }})()")
        while not (
            new := {p for p in self.downloads.iterdir() if p.suffix != ".crdownload" and p.stat().st_size} - before
        ):
            self._message()
        return new.pop()

    def screenshot(self, path: Path, *, full: bool = False, dark: bool = False) -> Path:
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.settle()
        extra = {}
        if full:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            extra = {
                "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1},
                "captureBeyondViewport": True,
            }
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png", **extra)["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"]))
        return path
