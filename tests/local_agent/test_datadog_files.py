"""datadog.yaml and conf.d: what the local agent takes from the files of Datadog's own Agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import Settings, datadog_yaml
from streaming_dd.local_agent.intake.tail import LogSource
from streaming_dd.local_agent.store.contexts import HistogramRules


def write(directory: Path, main: str = "", **conf: str) -> Path:
    (directory / "datadog.yaml").write_text(main)
    for name, text in conf.items():
        folder = directory / "conf.d" / f"{name}.d"
        folder.mkdir(parents=True)
        (folder / "conf.yaml").write_text(text)
    return directory


def test_settings_are_read(tmp_path: Path) -> None:
    """Ports, sockets, tags, env, expiry and histogram rules are the Agent's."""
    write(
        tmp_path,
        f"""
api_key: not-read
hostname: Laptop
env: dev
tags: [team:data, "region:eu"]
dogstatsd_port: 9125
dogstatsd_socket: {tmp_path}/dsd.socket
dogstatsd_stream_socket: /nowhere/that/exists/stream.socket
dogstatsd_expiry_seconds: 60
histogram_aggregates: [max, sum]
histogram_percentiles: ["0.99", "0.5"]
apm_config: {{receiver_port: 9126, receiver_socket: {tmp_path}/apm.socket}}
""",
        app="""
logs:
  - {type: tcp, port: 10999, service: web, source: python, tags: [a:1]}
  - {type: file, path: /var/log/app/*.log, service: web}
  - {type: journald}
""",
    )
    settings = datadog_yaml.load(tmp_path, Settings(page_port=1))
    assert settings == Settings(
        page_port=1, hostname="Laptop", tags=("team:data", "region:eu", "env:dev"), dogstatsd_port=9125,
        dogstatsd_socket=f"{tmp_path}/dsd.socket", expiry=60, histogram=HistogramRules(("max", "sum"), (50, 99)),
        trace_port=9126, trace_socket=f"{tmp_path}/apm.socket", logs_port=10999,
        log_sources=(
            LogSource("tcp", port=10999, service="web", source="python", tags=("a:1",)),
            LogSource("file", path="/var/log/app/*.log", service="web"),
        ),
    )  # fmt: skip


def test_nothing_there_changes_nothing(tmp_path: Path) -> None:
    """An empty directory, or an empty file, leaves the settings as they are."""
    assert datadog_yaml.load(tmp_path) == Settings()
    assert datadog_yaml.load(write(tmp_path, "# all commented out\n")) == Settings()


def test_switched_off_is_off(tmp_path: Path) -> None:
    """A port of 0, `apm_config.enabled: false` and `logs_enabled: false` switch the listener off."""
    main = "dogstatsd_port: 0\napm_config: {enabled: false}\nlogs_enabled: false\n"
    settings = datadog_yaml.load(write(tmp_path, main, app="logs: [{type: file, path: x}]"))
    assert (settings.dogstatsd_port, settings.trace_port, settings.logs_port) == (None, None, None)
    assert settings.log_sources == ()


@pytest.mark.parametrize(
    ("main", "name", "value"),
    [
        ('tags: "a:1  b:2"', "tags", ("a:1", "b:2")),
        ("tags: a:1", "tags", ("a:1",)),
        ("extra_tags: [b:2]\ntags: [a:1]", "tags", ("a:1", "b:2")),
        ('dogstatsd_tags: "a:1 b:2"', "dogstatsd_tags", ("a:1", "b:2")),
        ("histogram_percentiles: 0.9", "histogram", HistogramRules(percentiles=(90,))),
        ("histogram_aggregates: max count", "histogram", HistogramRules(("max", "count"))),
        ('dogstatsd_port: "8130"', "dogstatsd_port", 8130),
        ('apm_config: {receiver_port: "8130"}', "trace_port", 8130),
        ("apm_config: {receiver_port: 0}", "trace_port", None),
        ("use_dogstatsd: false", "dogstatsd_port", None),
    ],
)
def test_other_ways_to_write_a_value(tmp_path: Path, main: str, name: str, value: object) -> None:
    """The Agent's reader takes a text with spaces for a list, and a number as text; 0 and false switch off."""
    assert getattr(datadog_yaml.load(write(tmp_path, main)), name) == value


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ("dogstatsd_port: many", "dogstatsd_port must be a whole number"),
        ("dogstatsd_port: 70000", "from 0 to 65535"),
        ("dogstatsd_port: true", "whole number"),
        ("histogram_aggregates: {max: 1}", "must be a list"),
        ("apm_config: 3", "apm_config must hold"),
        ("[1, 2]", "not a list"),
        ("a: [", "datadog.yaml"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, main: str, words: str) -> None:
    """A value that the Agent would not take either is an error that says what to write."""
    with pytest.raises(LocalAgentError, match=r"datadog\.yaml") as caught:
        datadog_yaml.load(write(tmp_path, main))
    assert words in str(caught.value)


def test_a_file_source_needs_a_path(tmp_path: Path) -> None:
    """A source without a path is named with its file."""
    with pytest.raises(LocalAgentError, match=r"conf\.yaml: a log source of type file needs a path"):
        datadog_yaml.load(write(tmp_path, app="logs: [{type: file}]"))


def test_entries_that_make_no_sense_are_passed_over_and_said(tmp_path: Path) -> None:
    """One bad aggregate or percentile ends nothing: the others count, as in the Agent, and a note names it."""
    main = 'histogram_aggregates: [max, mode]\nhistogram_percentiles: ["0.95", "test", "95", "0.22"]'
    settings = datadog_yaml.load(write(tmp_path, main))
    assert settings.histogram == HistogramRules(("max",), (22, 95))
    assert [
        word in note for note, word in zip(settings.notes, ("'mode'", "'test'", "'95'"), strict=True)
    ] == [True] * 3


def test_empty_list_of_aggregates_means_none(tmp_path: Path) -> None:
    """`histogram_aggregates: []` is no aggregate, without the key it is the default."""
    assert datadog_yaml.load(write(tmp_path, "histogram_aggregates: []")).histogram.aggregates == ()


def test_what_changes_names_in_production_is_honoured_or_named(tmp_path: Path, run_agent, send) -> None:
    """The namespace and the DogStatsD tags are put on; mapper profiles and slips of the pen are noted and shown."""
    main = """
statsd_metric_namespace: shop
dogstatsd_tags: [team:data]
dogstatsd_mapper_profiles: [{name: a}]
dogstatsd_prot: 8125
"""
    settings = datadog_yaml.load(write(tmp_path, main))
    agent = run_agent(
        namespace=settings.namespace, dogstatsd_tags=settings.dogstatsd_tags, notes=settings.notes
    )
    send(agent, b"rows:1|c\njvm.heap:1|g")
    agent.wait_for(lambda received: len(received.metrics) == 2)
    assert {(each.name, each.tags) for each in agent.snapshot()} == {
        ("shop.rows", ("team:data",)), ("jvm.heap", ("team:data",)),
    }  # fmt: skip
    problems = " ".join(agent.holdings.problems)
    assert "dogstatsd_mapper_profiles is not used here" in problems
    assert "did you mean 'dogstatsd_port'" in problems
