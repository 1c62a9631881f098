"""Which destinations a configuration asks for. No state."""

from __future__ import annotations

from ...config import Config
from . import feedback
from .agent import AgentTcp
from .console import Console
from .destinations import Destination
from .file import RotatingFile
from .stdout import Stdout


def for_people(config: Config) -> bool:
    """Return whether standard output is to be read by people: a terminal, unless the configuration says so or not."""
    if config.log_format != "auto":
        return config.log_format == "console"
    try:
        stream = feedback.process_stream("stdout")
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # closed, or something that is no file
        return False


def opened(config: Config) -> tuple[Destination, ...]:
    """Open the configured destinations; raise ConfigError for a file that cannot be written."""
    found: list[Destination] = []
    if config.log_stdout and feedback.process_stream("stdout") is not None:
        people = for_people(config)
        found.append(Console(config.log_queue, config.log_trace_url) if people else Stdout(config.log_queue))
    if config.log_file:
        found.append(
            RotatingFile(config.log_file, config.log_file_bytes, config.log_file_count, config.log_queue)
        )
    if config.log_agent:
        found.append(AgentTcp(config.log_agent, config.log_queue))
    for destination in found:
        destination.alone = len(found) == 1
    return tuple(found)
