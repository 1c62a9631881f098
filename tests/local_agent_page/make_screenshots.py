"""Make the pictures of docs/local-agent.md from the running demo: `make demo`, then

    python tests/local_agent_page/make_screenshots.py http://127.0.0.1:8181 docs/images

Chromium takes them; each is one view as it is at that moment. `terminal.html` pictures are made by `--terminal FILE`,
which takes captured output of the demo with its ANSI colours.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
VIEWS = {
    "overview": ("overview", "light", 1300, 850),
    "overview-dark": ("overview", "dark", 1300, 850),
    "dashboard": ("dashboards/tasks", "light", 1360, 940),
    "services": ("services/reports", "light", 1360, 620),
    "map": ("services", "light", 1360, 720),
    "tasks": ("tasks", "light", 1360, 700),
    "errors": ("errors", "light", 1360, 620),
    "traces": ("traces?query=service:reports", "light", 1360, 700),
    "trace": ("traces/{trace}", "light", 1360, 760),
    "flame": ("traces/{trace}?view=flame", "light", 1360, 620),
    "patterns": ("logs?patterns=1", "light", 1360, 620),
    "logs": ("logs", "light", 1360, 760),
    "monitors": ("monitors", "light", 1360, 860),
    "monitor": ("monitors/task-error-rate", "dark", 1360, 940),
    "capacity": ("capacity", "light", 1360, 840),
    "metrics": ("metrics", "light", 1360, 700),
    "health": ("health", "light", 1360, 780),
    "narrow": ("overview", "dark", 400, 900),
}
COLOURS = {
    "30": "#5b6475", "31": "#ff8087", "32": "#4fc79c", "33": "#f0ac4e", "34": "#74b3f5", "35": "#e087c3", "36": "#63cdf0",
    "90": "#8a94a8", "91": "#ff8087", "92": "#4fc79c", "93": "#f0ac4e", "94": "#74b3f5", "95": "#e087c3", "96": "#63cdf0",
}  # fmt: skip


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="the agent's page, or - with --terminal")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--range", default="15m", help="what the pictures look back over")
    parser.add_argument("--terminal", type=Path, help="captured output to draw instead, as demo.png")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        if options.terminal:
            page = browser.new_page(viewport={"width": 1180, "height": 400})
            draw_terminal(page, options.terminal.read_text(), options.directory / "demo.png")
        else:
            trace = richest_trace(options.address)
            for name, (path, theme, width, height) in VIEWS.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
                take(
                    page,
                    options.address,
                    path.format(trace=trace),
                    options.range,
                    options.directory / f"agent-{name}.png",
                )
                page.close()
        browser.close()


def take(page: Page, address: str, path: str, span: str, file: Path) -> None:
    """Take one view. `live=0`: an open stream would keep the network from ever being quiet."""
    page.goto(f"{address}/{path}{'&' if '?' in path else '?'}live=0&range={span}", wait_until="networkidle")
    page.wait_for_timeout(800)
    page.screenshot(path=file)


def richest_trace(address: str) -> str:
    """Return the trace of a failed task, or else the one with the most spans."""
    query = urllib.parse.urlencode({"query": "service:reports", "limit": 500})
    with urllib.request.urlopen(f"{address}/api/traces?{query}") as answer:
        spans = json.load(answer)["spans"]
    return str(max(spans, key=lambda span: (min(span["spans"], 24), span["errors"]))["trace_id"])


def draw_terminal(page: Page, text: str, file: Path) -> None:
    """Draw text with ANSI colours as a terminal would."""
    body = "".join(painted(text.rstrip("\n")))
    page.set_content(
        "<style>body{margin:0;background:#12151c}pre{margin:0;padding:18px 22px;color:#e6e9f0;display:inline-block;"
        "font:13px/1.45 'DejaVu Sans Mono',monospace;white-space:pre}</style>"
        f"<pre>{body}</pre>"
    )
    page.locator("pre").screenshot(path=file)


def painted(text: str) -> list[str]:
    """Return HTML: colours and bold become spans, everything else is escaped."""
    parts, style = [], ""
    for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z])", text):
        if not piece.startswith("\x1b"):
            parts.append(
                f'<span style="{style}">{html.escape(piece)}</span>' if style else html.escape(piece)
            )
        elif piece.endswith("m"):
            codes = piece[2:-1].split(";")
            style = "" if "0" in codes or codes == [""] else style
            style += "".join(f"color:{COLOURS[code]};" for code in codes if code in COLOURS)
            style += "font-weight:bold;" * ("1" in codes) + "opacity:.65;" * ("2" in codes)
    return parts


if __name__ == "__main__":
    main()
