"""The command line: output, exit codes, files all written or none."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from datadog_stand_in import API_KEY, APP_KEY, Failure, StandIn

from streaming_dd.assets import command
from streaming_dd.assets.account.client import SITES
from streaming_dd.errors import AccountError, AssetError, ConfigError

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `assets ...` in an empty directory; return the exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("DD_API_KEY", "DD_APP_KEY", "DD_SITE", "DATADOG_HOST"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser(prog="streaming-dd")
        command.add_parser(parser.add_subparsers())
        arguments = parser.parse_args(["assets", *words])
        code = arguments.handler(arguments)
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def keys(run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for the stand-in in the environment."""
    for name, value in (("DD_API_KEY", API_KEY), ("DD_APP_KEY", APP_KEY), ("DATADOG_HOST", api.url)):
        monkeypatch.setenv(name, value)


def test_list_shows_every_asset_and_every_threshold(run: Run) -> None:
    """One line each, with the number that is in force."""
    code, out = run("list")
    assert (code, len(out.splitlines())) == (0, 30)
    assert "monitor   task-error-rate                 [Streaming] Tasks fail too often" in out
    code, out = run("list", "--thresholds", "--threshold", "loop-lag.critical=333")
    assert code == 0
    assert "loop-lag.critical                              333  Milliseconds" in out


@pytest.mark.slow
def test_render_then_diff_then_change_then_diff(run: Run, tmp_path: Path) -> None:
    """What was rendered is fresh; a changed, a missing and an abandoned file are named, with the difference."""
    code, out = run("render")
    assert code == 0
    assert out.splitlines()[-1] == "33 files, 33 written"
    assert run("diff") == run("render", "--check") == (0, "33 files, 0 differ\n")
    assert run("render")[1] == "33 files, 0 written\n"
    monitor = tmp_path / "dd-agent/monitors/loop-lag.json"
    monitor.write_text(monitor.read_text().replace("> 250", "> 999"))
    (tmp_path / "dd-agent/slos/availability.json").unlink()
    (tmp_path / "dd-agent/dashboards/old.json").write_text("{}")
    code, out = run("diff")
    assert code == 1
    assert "dd-agent/monitors/loop-lag.json differs" in out
    assert '-  "query": "percentile(last_5m):p95:streaming.loop.lag{*} by {env,service} > 999"' in out
    assert "dd-agent/slos/availability.json is missing" in out
    assert "dd-agent/dashboards/old.json is generated no more" in out
    assert "33 files, 3 differ; run `streaming-dd assets render`" in out
    code, out = run("render")
    assert "left dd-agent/dashboards/old.json: nothing generates it any more, delete it" in out
    assert (tmp_path / "dd-agent/dashboards/old.json").exists()


def test_render_takes_options(run: Run, tmp_path: Path) -> None:
    """Prefix, scope, timers, handles and thresholds reach the files."""
    words = "--prefix acme --service web --env prod --timers distribution --notify @oncall --threshold loop-lag.critical=400"
    assert run("render", "--directory", "out", *words.split())[0] == 0
    monitor = json.loads((tmp_path / "out/monitors/loop-lag.json").read_text())
    assert (
        monitor["query"]
        == "percentile(last_5m):p95:acme.loop.lag{env:prod,service:web} by {env,service} > 400"
    )
    assert monitor["message"].endswith("@oncall")
    assert "streaming-dd:acme.web.prod.loop-lag" in monitor["tags"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_render_without_permission_writes_nothing(run: Run, tmp_path: Path) -> None:
    """A folder that cannot be written leaves the other files as they were."""
    run("render")
    (tmp_path / "dd-agent/slos").chmod(0o500)
    with pytest.raises(AssetError, match="cannot write"):
        run("render", "--prefix", "acme")
    (tmp_path / "dd-agent/slos").chmod(0o700)
    assert run("diff")[0] == 0


def test_render_onto_a_file_writes_nothing(run: Run, tmp_path: Path) -> None:
    """If a folder's place is taken by a file, no file is written and none is left half-written."""
    (tmp_path / "dd-agent").mkdir()
    (tmp_path / "dd-agent/terraform").write_text("in the way")
    with pytest.raises(AssetError, match=r"cannot write .*terraform"):
        run("render")
    assert [path for path in (tmp_path / "dd-agent").rglob("*") if path.is_file()] == [
        tmp_path / "dd-agent/terraform"
    ]


def test_thresholds_that_contradict_each_other_write_nothing(run: Run, tmp_path: Path) -> None:
    """A warning above critical is found before a file is touched."""
    with pytest.raises(
        AssetError, match=r"monitors/loop-lag.json: options.thresholds.warning: .* \[threshold-order\]"
    ):
        run("render", "--threshold", "loop-lag.critical=50")
    assert not (tmp_path / "dd-agent").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "loop-lag.critical"], "write NAME=NUMBER"),
        (["--threshold", "loop-lag.critical=fast"], "write NAME=NUMBER"),
        (["--threshold", "loop-lag.crit=5"], "did you mean loop-lag.critical"),
        (["--prefix", "A B"], "prefix 'A B'"),
        (["--notify", "oncall"], "begins with '@'"),
    ],
)
def test_bad_options_are_refused(run: Run, words: list[str], message: str) -> None:
    """What was written wrongly is quoted, with what to write."""
    with pytest.raises(AssetError, match=message):
        run("lint", *words)


def test_lint_of_the_rendering_and_of_files(run: Run, tmp_path: Path) -> None:
    """Exit 0 and a count when all is well, 1 and a line for each problem when not; folders are searched."""
    assert run("lint") == (0, "30 checked, 0 problems\n")
    run("render")
    assert run("lint", "dd-agent/dashboards", "dd-agent/monitors/health.json") == (
        0,
        "7 checked, 0 problems\n",
    )
    bad = tmp_path / "bad.json"
    bad.write_text(
        '{"name": "x", "type": "query alert", "query": "avg(last_5m):streaming.a{*} > 5", "options": {}}'
    )
    code, out = run("lint", str(bad))
    assert code == 1
    assert f"{bad}: query: 'streaming.a' has no aggregator before it" in out
    assert out.endswith("1 checked, 1 problems\n")
    code, out = run("lint", "--rules")
    assert code == 0
    assert "threshold-order      A warning on the wrong side of critical." in out


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), (None, "No such file"), (b"\xff\xfe", "not UTF-8")]
)
def test_lint_of_what_cannot_be_read(
    run: Run, tmp_path: Path, text: str | bytes | None, message: str
) -> None:
    """A file that is missing, broken or binary is named."""
    file = tmp_path / "broken.json"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(AssetError, match=rf"broken.json: .*{message}"):
        run("lint", str(file))


@pytest.mark.slow
def test_push_shows_a_plan_and_sends_nothing(run: Run, api: StandIn, keys: None) -> None:
    """Without --apply nothing is written, and that is said."""
    code, out = run("push")
    assert code == 0
    assert "create    monitor   task-error-rate" in out
    assert out.splitlines()[-1] == f"Nothing was sent to {api.url}. Add --apply to do this."
    assert api.writes() == []


@pytest.mark.slow
def test_push_apply_then_pull_shows_no_drift_then_drift(
    run: Run, api: StandIn, keys: None, tmp_path: Path
) -> None:
    """After a push the account is what would be rendered; what changes there is shown, and can be written down."""
    code, out = run("push", "--apply", "--no-metadata")
    assert (code, out.count("create")) == (0, 30)
    assert run("pull") == (0, "30 assets, 30 in the account, 0 drifted\n")
    monitor = next(each for each in api.monitors.values() if each["name"] == "[Streaming] Tasks hang")
    monitor["options"]["thresholds"]["critical"] = 2
    code, out = run("pull", "--output", "pulled")
    assert code == 1
    assert "drifted   monitor   tasks-stalled: options.thresholds.critical" in out
    pulled = json.loads((tmp_path / "pulled/monitors/tasks-stalled.json").read_text())
    assert pulled["options"]["thresholds"]["critical"] == 2
    assert "id" not in pulled
    slo = json.loads((tmp_path / "pulled/slos/availability.json").read_text())
    assert slo["monitor_ids"] == ["${monitor:health}"]


@pytest.mark.slow
def test_push_that_fails_in_part_exits_with_one(run: Run, api: StandIn, keys: None) -> None:
    """A failure is a line and an exit code; no key is printed."""
    api.failures.append(Failure("POST", "/api/v1/monitor", 403))
    code, out = run("push", "--apply")
    assert code == 1
    assert "failed    monitor   request-error-rate: POST /api/v1/monitor: 403: refused" in out
    assert API_KEY not in out
    assert APP_KEY not in out


def test_push_without_keys_or_with_a_contradiction(
    run: Run, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is named before anything is sent."""
    with pytest.raises(AssetError, match="contradict"):
        run("push", "--apply", "--dry-run")
    monkeypatch.delenv("DD_APP_KEY")
    with pytest.raises(ConfigError, match="DD_APP_KEY: is not set"):
        run("push")


def test_push_with_a_refused_key_raises_before_writing(
    run: Run, api: StandIn, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key ends the command at the first reading."""
    monkeypatch.setenv("DD_APP_KEY", "abcdefgh1234")
    with pytest.raises(AccountError, match="403"):
        run("push", "--apply")
    assert api.writes() == []
    assert len(SITES) == 7
