"""A real browser, driven through its own debugging protocol: two pipes, JSON messages that a zero byte ends.

`python -m conformance.tests.browser PAGE FRAGMENT PICTURE` takes a picture of a page, as for the README.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

SECONDS: Final = 60.0
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# The descriptors on which Chromium reads and writes the protocol.
READS, WRITES = 3, 4
KEYS: Final[Mapping[str, int]] = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "ArrowDown": 40,
    "ArrowUp": 38,
    "End": 35,
    "Home": 36,
}


class BrowserFailed(Exception):
    """The browser said no, or nothing."""


class Browser:
    """A browser with a profile of its own, which goes with it."""

    def __init__(self) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise BrowserFailed(f"no browser is installed; looked for {', '.join(NAMES)}")
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # High numbers first, so that moving one into its place overwrites none of the others.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out)]
        arguments = [program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        actions = [(os.POSIX_SPAWN_DUP2, high[0], READS), (os.POSIX_SPAWN_DUP2, high[1], WRITES)]
        actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
        self._process = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setpgroup=0)
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser and its helpers, and removes the profile."""
        with suppress(BrowserFailed):
            self.call("Browser.close")
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come in between are kept.

        Raises:
            BrowserFailed: if it fails, or no answer comes in time.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages(time.monotonic() + SECONDS):
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserFailed(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)
        raise BrowserFailed(f"{method}: no answer")

    def events(self, method: str, session: str) -> list[dict[str, Any]]:
        """The parameters of the events of one kind and page since they were last asked for."""
        kind = (method, session)
        found = [event["params"] for event in self._events if (event["method"], event.get("sessionId")) == kind]
        self._events = [event for event in self._events if (event["method"], event.get("sessionId")) != kind]
        return found

    def _messages(self, until: float) -> Iterator[dict[str, Any]]:
        while True:
            head, zero, rest = self._buffer.partition(b"\0")
            if zero:
                self._buffer = rest
                yield json.loads(head)
                continue
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            read = os.read(self._in, 1 << 20) if ready else b""
            if not read:
                return
            self._buffer += read

    @contextmanager
    def tab(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator["Tab"]:
        """A page of a size and theme of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme, still])
        try:
            yield tab
        finally:
            self.call("Target.closeTarget", targetId=target)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to this page."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, path: Path, fragment: str = "") -> None:
        """Opens a file as a double click would, and waits until its program says that it is ready.

        Raises:
            BrowserFailed: if it cannot be opened, or is never ready.
        """
        address = path.resolve().as_uri() + (f"#{fragment}" if fragment else "")
        failure = self.call("Page.navigate", url=address).get("errorText")
        if failure:
            raise BrowserFailed(f"{path}: {failure}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        self.wait("document.documentElement.dataset.ready || !document.querySelector('script')")

    def go(self, fragment: str) -> None:
        """Follows a link within the page."""
        self.ask("(document.documentElement.dataset.shown = '', 0)")
        self.ask(f"(location.hash = {json.dumps(fragment)}, 0)")
        self.wait("document.documentElement.dataset.shown")

    def ask(self, expression: str) -> Any:
        """The value of an expression, awaited where it is a promise.

        Raises:
            BrowserFailed: if it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserFailed(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Waits until an expression holds, and returns its value.

        Raises:
            BrowserFailed: if it does not in time.
        """
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            value = self.ask(expression)
            if value:
                return value
            time.sleep(0.02)
        raise BrowserFailed(f"never came true: {expression}")

    def press(self, key: str) -> None:
        """A key, pressed and let go."""
        given: dict[str, Any] = {"key": key}
        if key in KEYS:
            given |= {"windowsVirtualKeyCode": KEYS[key], "code": key}
        letter = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **letter)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def point(self, x: float, y: float) -> None:
        """Moves the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Writes what is seen, or the whole page, as a PNG file."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))
        return path

    def spoken(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What a screen reader is given, in its order: role, name and properties of all that is not ignored."""
        self.call("Accessibility.enable")
        nodes = {node["nodeId"]: node for node in self.call("Accessibility.getFullAXTree")["nodes"]}
        found = []
        waiting = [next(name for name, node in nodes.items() if "parentId" not in node)]
        while waiting:
            node = nodes.get(waiting.pop(), {"ignored": True})
            waiting += reversed(node.get("childIds", []))
            if not node["ignored"]:
                properties = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
                found.append((node["role"]["value"], node.get("name", {}).get("value", ""), properties))
        return found

    def complaints(self) -> list[str]:
        """What the console was told since it was last asked: exceptions, errors, refusals of the policy."""
        self.ask("0")
        thrown = self._browser.events("Runtime.exceptionThrown", self._session)
        logged = self._browser.events("Log.entryAdded", self._session)
        return [each["exceptionDetails"]["text"] for each in thrown] + [each["entry"]["text"] for each in logged]

    def requests(self) -> list[str]:
        """The addresses that were asked for since this was last asked."""
        self.ask("0")
        return [each["request"]["url"] for each in self._browser.events("Network.requestWillBeSent", self._session)]


def main(page: str, fragment: str, picture: str) -> None:
    """Takes a picture of a page."""
    with Browser() as browser, browser.tab(width=1200, height=1560) as tab:
        tab.open(Path(page), fragment)
        tab.picture(Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
