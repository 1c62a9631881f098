"""With the real ddtrace: a line carries the ids of the span that is active where it is logged, once."""

from __future__ import annotations

import os

import pytest
from log_helpers import parse_lines, run_script

CODE = """
import asyncio, logging, os, sys
if sys.argv[1] == "patched":
    import ddtrace.auto
    import ddtrace
    ddtrace.patch(loguru=True, logging=True)
from ddtrace.trace import tracer
from loguru import logger
from streaming_dd import logs
current = logs.configure(service="shop", env="test")

async def task(name):
    span = tracer.start_span(name, child_of=None, activate=True)
    await asyncio.sleep(0)
    logger.bind(want=str(span.span_id), trace=f"{span.trace_id:032x}").info("loguru")
    logging.getLogger("app").warning("library", extra={"want": str(span.span_id), "trace": f"{span.trace_id:032x}"})
    current.emit({"message": "ours", "want": str(span.span_id), "trace": f"{span.trace_id:032x}"})
    span.finish()

async def main():
    await asyncio.gather(*(task(f"t{number}") for number in range(3)))

asyncio.run(main())
logger.info("outside")
current.stop(60)
sys.stdout.flush()
os._exit(0)  # without ddtrace's attempts to reach an agent
"""


@pytest.mark.process
@pytest.mark.parametrize("how", ["plain", "patched"])
def test_lines_carry_the_ids_of_the_active_span_once(how):
    """In each task, from each source, with and without ddtrace's own log injection."""
    environ = {
        **os.environ,
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_LOGS_INJECTION": "true",
    }
    result = run_script(CODE, how, env=environ)
    # ddtrace's own warnings of the missing agent come through the bridge too
    found = [line for line in parse_lines(result.stdout) if "ddtrace" not in line.get("logger.name", "")]
    lines = [line for line in found if "want" in line]
    assert sorted(line["message"] for line in lines) == ["library"] * 3 + ["loguru"] * 3 + ["ours"] * 3, (
        result.stderr
    )
    for line in lines:
        assert (line["dd.span_id"], line["dd.trace_id"]) == (line["want"], line["trace"])
    assert len({line["dd.trace_id"] for line in lines}) == 3
    (outside,) = [line for line in found if line["message"] == "outside"]
    assert "dd.trace_id" not in outside
    for line in found:
        assert not any(name.startswith("extra.") for name in line)
        assert line["dd.service"] == "shop"
