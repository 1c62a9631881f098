"""Build the wheel, look what it carries, install it into an empty environment, and import it without the extras."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import sys
import streaming_dd as dd
heavy = [name for name in ("ddtrace", "datadog", "loguru", "starlette", "django") if name in sys.modules]
assert not heavy, f"importing streaming_dd imported {heavy}"
import asyncio

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

sent = []

async def send(message):
    sent.append(message)

wrapped = dd.instrument(app, service="wheel", log_stdout=False)
scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "root_path": ""}
asyncio.run(wrapped(scope, receive, send))
assert sent[1]["body"] == b"ok"
for extra in ("django", "lark", "msgspec", "prometheus_client", "redis", "uvicorn"):
    try:
        __import__(extra)
    except ImportError:
        continue
    raise AssertionError(f"{extra} belongs to an extra, but the wheel pulled it in")
from streaming_dd.cli.doctor import diagnose
diagnose(send=False)
print("wheel: imports and serves without the extras")
"""


def carries_the_dashboards(wheel: Path) -> None:
    """Check that the local agent finds every shipped dashboard, monitor and SLO in an installation."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for kind in ("dashboards", "monitors", "slos"):
        files = [file.name for file in (ROOT / "dd-agent" / kind).glob("*.json")]
        missing = [
            name for name in files if f"streaming_dd/local_agent/shipped_json/{kind}/{name}" not in names
        ]
        assert files, f"dd-agent/{kind} is empty"
        assert not missing, f"the wheel lacks {kind}: {missing}"
    assert "streaming_dd/shipped_examples/examples/demo/__main__.py" in names, "the wheel lacks the example"
    page = "streaming_dd/shipped_examples/examples/reports/static/"
    assert any(name.startswith(page) for name in names), "the wheel lacks the example's page"


def main() -> None:
    """Run the check; a failing step raises."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(folder).glob("*.whl")
        carries_the_dashboards(wheel)
        home = Path(folder) / "venv"
        venv.create(home, with_pip=True)
        python = home / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        environment = {"PATH": "/usr/bin:/bin", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
        subprocess.run([python, "-W", "error", "-c", SCRIPT], check=True, cwd=folder, env=environment)
        command = home / "bin" / "streaming-dd"
        for words in ("config", "doctor --help", "doctor --no-probe --port-offset 1", "completion bash"):
            shown = subprocess.run([command, *words.split()], env=environment, capture_output=True, text=True)
            assert shown.returncode in ((0, 1) if "probe" in words else (0,)), f"{words}: {shown.stderr}"
            assert "Traceback" not in shown.stderr, f"{words}: {shown.stderr}"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", f"{wheel}[demo]"],
            check=True,
        )
        demo = [home / "bin" / "streaming-dd", "demo", "--seconds", "5", "--port-offset", "4000"]
        shown = subprocess.run(demo, cwd=folder, env=environment, capture_output=True, text=True)
        assert shown.returncode == 0, f"{shown.stdout[-4000:]}\n{shown.stderr[-2000:]}"


if __name__ == "__main__":
    main()
