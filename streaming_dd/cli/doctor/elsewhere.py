"""A local agent that is not where the settings lead: `--agent HOST`, `--port-offset N`. No state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from ...config import Config
from ...local_agent import ports
from .report import Finding

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The local agent that `streaming-dd agent --host HOST --port-offset N` starts."""

    host: str = LOOPBACK
    port_offset: int = 0

    def addresses(self) -> dict[str, str]:
        """Return its addresses by the settings that lead there."""
        offset = self.port_offset
        host = f"[{self.host}]" if ":" in self.host else self.host
        return {
            "dogstatsd_url": f"udp://{host}:{ports.DOGSTATSD + offset}",
            "trace_agent_url": f"http://{host}:{ports.TRACES + offset}",
            "log_agent": f"{host}:{ports.LOGS + offset}",
        }

    @property
    def start(self) -> str:
        """What starts it, for a sentence."""
        host = f" --host {self.host}" if self.host != LOOPBACK else ""
        offset = f" --port-offset {self.port_offset}" if self.port_offset else ""
        return f"`streaming-dd agent{host}{offset}`"

    def instead(self, config: Config) -> Config:
        """Return the settings with its addresses in place of their own."""
        found = self.addresses()
        origins = {**config.origins, **dict.fromkeys(found, "argument")}
        return replace(config, **found, origins=MappingProxyType(origins))  # type: ignore[arg-type]

    def finding(self, config: Config) -> Iterator[Finding]:
        """Say where the settings lead if that is not there, and which variables lead there."""
        found = self.addresses()
        own = {
            "dogstatsd_url": config.dogstatsd_address(),
            "trace_agent_url": config.trace_address(),
            "log_agent": config.log_agent,
        }
        if {name: address.replace("localhost", LOOPBACK) for name, address in own.items()} == found:
            return
        variables = zip(("DD_DOGSTATSD_URL", "DD_TRACE_AGENT_URL", "STREAMING_LOG_AGENT"), found, strict=True)
        export = " ".join(f"{variable}={found[name]}" for variable, name in variables)
        yield Finding(
            "settings.agent",
            "info",
            f"looked for an agent at {found['trace_agent_url']}; an application with these settings sends to "
            f"{own['dogstatsd_url']}, {own['trace_agent_url']} and {own['log_agent'] or 'no log port'}",
            f"In its terminal: export {export}, or start it by `streaming-dd agent -- COMMAND`.",
        )
