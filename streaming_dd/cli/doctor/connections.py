"""Does somebody answer where metrics, spans and log lines go; and who is it. No state."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ...config import Config
from .report import Finding

TIMEOUT: Final = 5.0
#: How long the refusal of a UDP datagram takes to come back on this machine, at most.
_REFUSAL: Final = 0.05
_MAX_BODY: Final = 4_000_000
_START: Final = "Start one ({start}), or correct {setting}."
START: Final = "`streaming-dd agent` on a laptop"


@dataclass(frozen=True, slots=True)
class Intake:
    """Who takes the spans: `info` is what it says of itself on /info, empty if it does not."""

    url: str
    info: dict[str, Any]

    @property
    def is_local_agent(self) -> bool:
        """Whether it is the embedded agent, which can be asked what it received."""
        return "local_agent" in self.info

    @property
    def page(self) -> tuple[str, int] | None:
        """Host and port of the local agent's API; None if it serves none."""
        port = self.info.get("local_agent", {}).get("page_port")
        return (urlsplit(self.url).hostname or "127.0.0.1", port) if port else None


# --- DogStatsD ------------------------------------------------------------------------------------------------------


def dogstatsd(config: Config, start: str = START) -> Finding:
    """Look whether something takes datagrams at DogStatsD's address."""
    address = config.dogstatsd_address()
    setting = _named(config, "dogstatsd_url", "agent_host", otherwise="DD_AGENT_HOST")
    try:
        message = _unix(address) if address.startswith("unix") else _udp(address)
    except OSError as error:
        problem = f"nothing takes metrics at {address}: {_reason(error)}"
        return Finding("agent.dogstatsd", "error", problem, _START.format(start=start, setting=setting))
    return Finding("agent.dogstatsd", "ok", message)


def _named(config: Config, *names: str, otherwise: str) -> str:
    """The variable, Django setting or argument that an address came from: the first of these settings that is set."""
    for name in names:
        origin = config.origins.get(name, "default")
        if origin != "default" and getattr(config, name):
            return (
                origin.removeprefix("environment ")
                if origin.startswith("environment ")
                else f"{name} ({origin})"
            )
    return otherwise


def _udp(address: str) -> str:
    url = urlsplit(address)
    family, kind, protocol, _, target = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.settimeout(TIMEOUT)
        probe.connect(target)
        for _ in range(3):
            probe.send(b"")
            time.sleep(_REFUSAL)  # a refusal is reported by the next call
    if target[0] in ("127.0.0.1", "::1"):
        return f"{address} takes datagrams"
    return f"{address} refuses no datagrams; UDP gives no receipt, so more cannot be known from here"


def _unix(address: str) -> str:
    scheme, _, path = address.partition("://")
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    kinds = {"unixgram": [socket.SOCK_DGRAM], "unixstream": [socket.SOCK_STREAM]}
    wanted = kinds.get(scheme, [socket.SOCK_DGRAM, socket.SOCK_STREAM])
    for kind in wanted:
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.settimeout(TIMEOUT)
            try:
                probe.connect(path)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE or kind == wanted[-1]:
                    raise
            else:
                return f"{address} takes {'datagrams' if kind == socket.SOCK_DGRAM else 'a stream'}"
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))


# --- spans ----------------------------------------------------------------------------------------------------------


def traces(config: Config, url: str, *, otlp: bool, start: str = START) -> tuple[Finding, Intake | None]:
    """Look who takes spans at `url`."""
    setting = (
        "OTEL_EXPORTER_OTLP_ENDPOINT"
        if otlp
        else _named(config, "trace_agent_url", "agent_host", otherwise="DD_TRACE_AGENT_URL")
    )
    try:
        if otlp:
            return _otlp(url), None
        status, body = fetch(url, "GET", "/info")
    except (OSError, http.client.HTTPException) as error:
        problem = f"nothing takes spans at {url}: {_reason(error)}"
        return Finding("agent.traces", "error", problem, _START.format(start=start, setting=setting)), None
    info = _decoded(body) if status == 200 else None
    if not isinstance(info, dict) or "endpoints" not in info:
        problem = f"{url} answers, but not as an Agent: GET /info gave status {status}"
        fix = "Use an Agent of version 7.29 or newer, and its trace port, 8126 by default."
        if port := _trace_port(url):
            problem = f"{url} is the local agent's page: it takes no spans"
            fix = f"Its traces are at port {port}: correct {setting}."
        return Finding("agent.traces", "error", problem, fix), None
    intake = Intake(url, info)
    who = "the local agent" if intake.is_local_agent else f"a Datadog Agent {info.get('version', '')}"
    if not any(str(endpoint).startswith("/v0.5/traces") for endpoint in info["endpoints"]):
        # ddtrace 4.16 posts to /v0.5/traces, does not fall back on a 404, and drops a batch after six posts.
        problem = f"{who} at {url} has no /v0.5/traces, which ddtrace posts to: every span would be lost"
        fix = "Update the Agent, or set DD_TRACE_API_VERSION=v0.4."
        asks_v04 = os.environ.get("DD_TRACE_API_VERSION", "").strip() == "v0.4"
        return Finding(
            "agent.traces", "info" if asks_v04 else "warning", problem, "" if asks_v04 else fix
        ), intake
    return Finding("agent.traces", "ok", f"{who} takes spans at {url}"), intake


def _trace_port(url: str) -> int | None:
    """Return where a local agent takes spans if `url` is its page; None if it is none."""
    try:
        status, body = fetch(url, "GET", "/api/overview")
    except (OSError, http.client.HTTPException):
        return None
    found = _decoded(body) if status == 200 else None
    listening = found.get("listening") if isinstance(found, dict) else None
    port = listening.get("trace_port") if isinstance(listening, dict) else None
    return port if isinstance(port, int) else None


def _otlp(url: str) -> Finding:
    """Post an empty request, which every receiver takes."""
    headers = {"Content-Type": "application/x-protobuf", **_otlp_headers(os.environ)}
    status, _ = fetch(url, "POST", urlsplit(url).path or "/", body=b"", headers=headers)
    if 200 <= status < 300:
        return Finding("agent.traces", "ok", f"an OTLP receiver takes spans at {url}")
    return Finding(
        "agent.traces",
        "error",
        f"{url} answers an empty OTLP request with status {status}",
        "Correct OTEL_EXPORTER_OTLP_ENDPOINT: it is the address without /v1/traces, HTTP (port 4318), not gRPC. "
        "A token goes into OTEL_EXPORTER_OTLP_HEADERS.",
    )


def _otlp_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the exporter adds: `name=value,name=value`."""
    given = (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    )
    pairs = (pair.partition("=") for pair in given.split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}


# --- log lines ------------------------------------------------------------------------------------------------------


def logs(config: Config, start: str = START) -> Finding:
    """Look whether something listens at the Agent's TCP log port, if lines go there."""
    if not config.log_agent:
        return Finding(
            "agent.logs",
            "info",
            "log lines are not sent to an Agent's port; an Agent may follow the file or the container's output",
            "Set STREAMING_LOG_AGENT=127.0.0.1:10518 to send them.",
        )
    host, _, port = config.log_agent.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
    except OSError as error:
        problem = f"nothing takes log lines at {config.log_agent}: {_reason(error)}"
        return Finding(
            "agent.logs",
            "error",
            problem,
            _START.format(start=start, setting=_named(config, "log_agent", otherwise="STREAMING_LOG_AGENT")),
        )
    return Finding("agent.logs", "ok", f"{config.log_agent} takes log lines")


def unresolved(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (setting, host) of every address whose host name does not resolve."""
    statsd = _named(config, "dogstatsd_url", "agent_host", otherwise="DD_AGENT_HOST")
    spans = _named(config, "trace_agent_url", "agent_host", otherwise="DD_AGENT_HOST")
    addresses = {
        statsd: urlsplit(config.dogstatsd_address()).hostname,
        spans: urlsplit(config.trace_address()).hostname,
        "STREAMING_LOG_AGENT": config.log_agent.rpartition(":")[0].strip("[]") or None,
    }
    for setting, host in addresses.items():
        if host:
            try:
                socket.getaddrinfo(host, None)
            except OSError:
                yield setting, host


# --- HTTP -----------------------------------------------------------------------------------------------------------


def fetch(
    url: str, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send one HTTP request to `http://`, `https://` or `unix://` and return status and body."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = _UnixConnection(parts.path)
    elif parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(_MAX_BODY)
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    """Return why, in words: the system's own, without numbers and addresses."""
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"it does not speak HTTP ({type(error).__name__})"
