"""Chromium without a window, driven through its pipes: a small client of the Chrome DevTools Protocol.

Messages are JSON with a zero byte behind each. A command's answer has its number; everything else is an
event, which the tab keeps, so that a test can ask afterwards what was requested, refused or logged.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ANSWER_S = 30.0
"""A command of the protocol is answered within so many seconds."""
TRACE_S = 180.0
"""A long trace has arrived within so many seconds."""
WAIT_S = 30.0
"""A condition in a page comes true within so many seconds."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--metrics-recording-only",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """Return the path of the browser, `CORRAL_CHROMIUM` or an installed one; None: there is none."""
    given = os.environ.get("CORRAL_CHROMIUM")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


class ProtocolError(Exception):
    """The browser refused a command, or a script in the page raised an error."""


class Browser:
    """A browser process with a fresh profile. `prefix` is the command that runs it elsewhere."""

    def __init__(self, executable: str, profile: Path, prefix: Sequence[str] = ()) -> None:
        to_browser, self._write_end = _pipe()
        self._read_end, from_browser = _pipe()
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser} {to_browser}<&- {from_browser}>&-'
        self._log = (profile.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            [*prefix, "bash", "-c", shell, "bash", executable, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._answers: dict[int, Queue[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._number = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def tab(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> Tab:
        """Open a tab in a profile of its own: it shares no storage with others."""
        context = self.command("Target.createBrowserContext")["browserContextId"]
        made = self.command("Target.createTarget", url="about:blank", browserContextId=context)
        target = made["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        self._tabs[session] = tab
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.command(f"{domain}.enable")
        tab.command("Emulation.setFocusEmulationEnabled", enabled=True)
        tab.resize(width, height)
        tab.colours("dark" if dark else "light")
        return tab

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer. Raises ProtocolError."""
        answer: Queue[dict[str, Any]] = Queue()
        with self._lock:
            self._number += 1
            number = self._number
            self._answers[number] = answer
            message: dict[str, Any] = {"id": number, "method": method, "params": params}
            if session is not None:
                message["sessionId"] = session
            os.write(self._write_end, json.dumps(message).encode() + b"\0")
        try:
            found = answer.get(timeout=ANSWER_S)
        except Empty:
            raise ProtocolError(f"{method} wasn't answered within {ANSWER_S:.0f} s") from None
        if "error" in found:
            raise ProtocolError(f"{method}: {found['error']['message']}")
        result: dict[str, Any] = found["result"]
        return result

    def close(self) -> None:
        """End the browser."""
        try:
            self.command("Browser.close")
            self._process.wait(10)
        except (ProtocolError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(10)
        os.close(self._write_end)
        self._log.close()

    def _read(self) -> None:
        rest = b""
        while part := os.read(self._read_end, 1 << 20):
            *messages, rest = (rest + part).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    self._answers.pop(message["id"]).put(message)
                elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
                    tab.note(message["method"], message["params"])
        os.close(self._read_end)


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, neither of them 3 or 4, where the browser has its own."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.requests: list[str] = []
        """The addresses of all requests so far."""
        self.problems: list[str] = []
        """Errors and warnings of the console, of scripts, and of the content security policy."""
        self.statuses: dict[str, int] = {}
        """The status of each address's last response."""
        self._trace: list[dict[str, Any]] = []
        self._is_traced = False

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Keep what an event says."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived":
                self.statuses[params["response"]["url"]] = params["response"]["status"]
            case "Tracing.dataCollected":
                self._trace += params["value"]
            case "Tracing.tracingComplete":
                self._is_traced = True
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                texts = [str(arg.get("value", arg.get("description", ""))) for arg in params["args"]]
                self.problems.append(" ".join(texts))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                entry = params["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}".strip())

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self._browser.command(method, self._session, **params)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def colours(self, scheme: str) -> None:
        """Let the system prefer `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Go to an address and wait for its load."""
        self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again."""
        self.run("window.isOld = true")
        self.command("Page.reload")
        self.wait("document.readyState === 'complete' && !window.isOld")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, once its promise is kept."""
        found = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise ProtocolError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    def wait(self, condition: str, wait_s: float = WAIT_S) -> Any:
        """Return the value of an expression once it is true. Raises AssertionError."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                value = self.run(condition)
            except ProtocolError as error:
                if "context" not in str(error):  # a page that is just left has none
                    raise
                value = None
            if value:
                return value
            if time.monotonic() > deadline:
                shown = self.run("document.body.innerText")[:2000]
                raise AssertionError(f"not within {wait_s:.0f} s: {condition}\n{shown}\n{self.problems}")
            time.sleep(0.03)

    def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        found = self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")
        assert found is not None, f"the page has no {selector}"
        return str(found)

    def has(self, text: str) -> str:
        """Return the condition that the page shows a text."""
        return f"document.body.innerText.includes({json.dumps(text)})"

    def click(self, selector: str, text: str | None = None) -> None:
        """Click on the first shown element of a selector, with this text or label, as a mouse would."""
        self.wait(f"!!({_found(selector, text)})")
        place = self.run(
            f"(() => {{ const e = {_found(selector, text)}; e.scrollIntoView({{block: 'nearest'}});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    def hover(self, selector: str) -> None:
        """Move the mouse onto an element."""
        place = self.run(
            f"(() => {{ const r = ({_found(selector, None)}).getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])

    def focus(self, selector: str) -> None:
        """Give an element the focus."""
        self.wait(f"!!({_found(selector, None)})")
        self.run(f"({_found(selector, None)}).focus()")

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.command("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key: `Enter`, `Escape`, `Tab`, or a letter."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "Backspace": 8}
        text = {"Enter": "\r", "Tab": "", "Escape": "", "Backspace": ""}.get(key, key)
        code = codes.get(key, ord(key[0].upper()))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.command("Input.dispatchKeyEvent", type="keyUp", **common)

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field."""
        self.focus(selector)
        self.run("document.activeElement.select?.()")
        if text:
            self.type(text)
        else:
            self.press("Backspace")

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        shot = self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def begin_trace(self) -> None:
        """Record the browser's tasks from now on."""
        self._trace, self._is_traced = [], False
        self.command("Tracing.start", transferMode="ReportEvents", categories="toplevel,__metadata")

    def end_trace(self) -> list[dict[str, Any]]:
        """Return what was recorded, in Chromium's trace format."""
        self.command("Tracing.end")
        deadline = time.monotonic() + TRACE_S
        while not self._is_traced:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self._trace

    def close(self) -> None:
        """Close the tab."""
        self._browser.command("Target.closeTarget", targetId=self._target)


def _found(selector: str, text: str | None) -> str:
    """Return the expression of the first shown element of a selector, by its text or label."""
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})].find((e) => e.checkVisibility() && "
        f"({json.dumps(text)} === null || e.innerText.trim() === {json.dumps(text)} || "
        f"e.getAttribute('aria-label') === {json.dumps(text)}))"
    )
