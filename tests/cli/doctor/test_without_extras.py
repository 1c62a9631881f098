"""The command and the doctor in an installation without any extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Makes what the extras bring impossible to import, as in a lean installation.
LEAN = """
import sys

class Lean:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"msgspec", "yaml", "lark", "uvicorn", "starlette", "django", "redis"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Lean())
"""
COMMAND = "from streaming_dd.cli import main; sys.exit(main(sys.argv[1:]))"
DIAGNOSE = """
from streaming_dd import doctor
print(doctor.diagnose(send=False, agent=doctor.Elsewhere(port_offset=1)).text())
"""


def lean(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where no extra is installed."""
    return subprocess.run(
        [sys.executable, "-c", LEAN + code, *words], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", ["--help", "doctor --help", "completion bash", "agent --help", "config"])
def test_the_command_works_without_an_extra(words: str) -> None:
    """Help, completion and settings need no more than the plain installation."""
    done = lean(COMMAND, *words.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_doctor_works_without_an_extra() -> None:
    """A lean production installation is where it is needed most; a local agent with other ports can be named there, too."""
    done = lean(DIAGNOSE)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:8127" in done.stdout


def test_the_agent_names_its_extra() -> None:
    """What needs an extra says which."""
    done = lean(COMMAND, "agent")
    assert done.returncode == 2
    assert "pip install 'streaming-dd[agent]'" in done.stderr
