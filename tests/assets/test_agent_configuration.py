"""dd-agent/: readable, without keys, explained, and what the dashboards rely on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streaming_dd.assets.queries import HISTOGRAM_SUFFIXES
from streaming_dd.local_agent.datadog_yaml import load

DIRECTORY = Path(__file__).parents[2] / "dd-agent"
YAML = sorted(path for pattern in ("*.yaml", "*.yml", "conf.d/*/*") for path in DIRECTORY.glob(pattern))


def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DIRECTORY / "datadog.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.relative_to(DIRECTORY).as_posix())
def test_every_file_is_yaml_and_holds_no_secret(path: Path) -> None:
    """No file has a key or a password, not even a made-up one that somebody would replace and commit."""
    text = path.read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text))
    assert not re.search(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{40}\b", text)
    for line in text.splitlines():
        if re.search(
            r"(api_key|app_key|password)\b.*:\s*\S", line, re.IGNORECASE
        ) and not line.lstrip().startswith("#"):
            assert "${DD_API_KEY:?" in line, line


def test_the_agent_makes_of_timers_what_the_dashboards_ask_for() -> None:
    """Exactly the aggregates and percentiles of the queries: fewer leave charts empty, more cost custom metrics."""
    made = {
        *config()["histogram_aggregates"],
        *(f"{round(float(p) * 100)}percentile" for p in config()["histogram_percentiles"]),
    }
    assert made == set(HISTOGRAM_SUFFIXES.values())


def test_the_local_agent_reads_the_same_files() -> None:
    """The shipped configuration is one that the local agent accepts and follows."""
    settings = load(DIRECTORY)
    assert (settings.dogstatsd_port, settings.trace_port, settings.logs_port) == (8125, 8126, 10518)
    assert {source.type for source in settings.log_sources} == {"file", "tcp"}


def test_every_setting_is_explained() -> None:
    """README has a line for each setting that is not an Agent's bare on or off."""
    readme = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    settings = {f"{key}" for key, value in config().items() if not isinstance(value, dict)}
    settings |= {inner for value in config().values() if isinstance(value, dict) for inner in value}
    obvious = {"use_dogstatsd", "logs_enabled", "enabled", "receiver_port", "apm_non_local_traffic"}
    assert sorted(name for name in settings - obvious if name not in readme) == []


def test_socket_directories_are_mounted_never_socket_files() -> None:
    """A mounted socket file is dead after the Agent's first restart."""
    compose = yaml.safe_load((DIRECTORY / "docker-compose.yml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        targets = [volume.split(":")[1] for volume in service["volumes"]]
        assert "/var/run/datadog" in targets
    assert compose["services"]["datadog-agent"]["pid"] == "host"
    _, deployment = yaml.safe_load_all((DIRECTORY / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    assert pod["volumes"][0]["hostPath"]["path"] == "/var/run/datadog/"
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/datadog"


def test_compose_and_kubernetes_agree_with_datadog_yaml() -> None:
    """Sockets and histogram settings are the same wherever they are written."""
    sockets = {config()["dogstatsd_socket"], config()["apm_config"]["receiver_socket"]}
    compose = yaml.safe_load((DIRECTORY / "docker-compose.yml").read_text(encoding="utf-8"))
    for name in ("reports", "prices"):
        environment = compose["services"][name]["environment"]
        assert {environment["DD_DOGSTATSD_URL"], environment["DD_TRACE_AGENT_URL"]} == {
            f"unix://{path}" for path in sockets
        }
    agent, deployment = yaml.safe_load_all((DIRECTORY / "kubernetes.yaml").read_text(encoding="utf-8"))
    features = agent["spec"]["features"]
    assert {features[name]["unixDomainSocketConfig"]["path"] for name in ("dogstatsd", "apm")} == sockets
    variables = {each["name"]: each.get("value") for each in agent["spec"]["override"]["nodeAgent"]["env"]}
    assert variables["DD_HISTOGRAM_AGGREGATES"].split() == config()["histogram_aggregates"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    addresses = {each["value"] for each in container["env"] if each["name"].endswith("_URL")}
    assert addresses == {f"unix://{path}" for path in sockets}
