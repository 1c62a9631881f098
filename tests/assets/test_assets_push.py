"""Push against a stand-in that checks requests with Datadog's typed models: idempotent, careful, resumable."""

from __future__ import annotations

import re
import socket

import pytest
from datadog_stand_in import API_KEY, APP_KEY, Failure, StandIn

from streaming_dd.assets.account.client import SITES, Account, account
from streaming_dd.assets.account.descriptions import push_metadata
from streaming_dd.assets.account.push import Change, apply, differences, fetch, in_order, plan, symbolised
from streaming_dd.assets.documents import Asset
from streaming_dd.assets.files.metadata import metadata
from streaming_dd.assets.options import Options
from streaming_dd.assets.rendering import render
from streaming_dd.errors import AccountError, ConfigError

OPTIONS = Options()


def push(account: Account, options: Options = OPTIONS) -> dict[str, Change]:
    """Push everything; return what was done by kind and name."""
    changes = apply(account, plan(render(options), fetch(account), options))
    return {f"{change.asset.kind} {change.asset.name}": change for change in changes}


def actions(done: dict[str, Change]) -> set[str]:
    return {change.action for change in done.values()}


@pytest.mark.slow
def test_first_push_creates_everything_in_an_order_that_works(
    api: StandIn, account: Account, assets: list[Asset]
) -> None:
    """Every asset is created, each after those it refers to, with real ids in the place of symbols."""
    done = push(account)
    assert actions(done) == {"create"}
    assert len(done) == len(assets) == len(api.monitors) + len(api.slos) + len(api.dashboards)
    names = {monitor["name"]: monitor for monitor in api.monitors.values()}
    burning = names["[Streaming] Failing tasks burn the error budget"]["query"]
    assert re.findall(r'"(\w{32})"', burning)[0] in api.slos
    availability = next(slo for slo in api.slos.values() if slo["type"] == "monitor")
    assert availability["monitor_ids"] == [names["[Streaming] A health check fails"]["id"]]
    assert "${" not in str(api.dashboards)


@pytest.mark.slow
def test_second_push_changes_nothing(api: StandIn, account: Account) -> None:
    """What is up to date is left alone: no request writes."""
    push(account)
    api.requests.clear()
    assert actions(push(account)) == {"unchanged"}
    assert api.writes() == []


def test_plan_sends_nothing_that_writes(api: StandIn, account: Account, assets: list[Asset]) -> None:
    """A plan only reads."""
    changes = plan(assets, fetch(account), OPTIONS)
    assert {change.action for change in changes} == {"create"}
    assert api.writes() == []


@pytest.mark.slow
def test_changed_threshold_updates_one_monitor_in_place(api: StandIn, account: Account) -> None:
    """An update keeps the id and names what differs; what shows the threshold follows."""
    before = {key: change.id for key, change in push(account).items()}
    options = Options(thresholds={"tasks-stalled.critical": 3})
    done = push(account, options)
    changed = {key: change for key, change in done.items() if change.action != "unchanged"}
    assert set(changed) == {"monitor tasks-stalled"}
    assert changed["monitor tasks-stalled"].differences == ["query", "options.thresholds.critical"]
    assert {key: change.id for key, change in done.items()} == before
    assert api.writes()[-1] == ("PUT", f"/api/v1/monitor/{before['monitor tasks-stalled']}")


def test_what_others_made_is_never_touched(api: StandIn, account: Account) -> None:
    """A monitor of the same name without our tag, and one with it of another installation, stay as they are."""
    api.monitors[1] = {"id": 1, "name": "Tasks hang", "type": "query alert", "query": "q", "tags": ["team:a"]}
    api.monitors[2] = {
        "id": 2,
        "name": "x",
        "type": "query alert",
        "query": "q",
        "tags": ["managed-by:streaming-dd", "streaming-dd:old"],
    }
    api.dashboards["abc"] = {
        "id": "abc",
        "title": "Streaming overview",
        "description": None,
        "layout_type": "free",
    }
    before = [dict(api.monitors[1]), dict(api.monitors[2]), dict(api.dashboards["abc"])]
    assert actions(push(account)) == {"create"}
    assert [api.monitors[1], api.monitors[2], api.dashboards["abc"]] == before
    assert {method for method, _ in api.writes()} == {"POST"}


@pytest.mark.slow
def test_two_services_live_in_one_account(api: StandIn, account: Account, assets: list[Asset]) -> None:
    """Assets narrowed to a service are others than those for all."""
    push(account)
    assert actions(push(account, Options(service="web"))) == {"create"}
    assert actions(push(account)) == {"unchanged"}
    assert len(api.monitors) == 2 * sum(asset.kind == "monitor" for asset in assets)


@pytest.mark.slow
def test_two_with_one_tag_are_a_conflict(api: StandIn, account: Account) -> None:
    """If somebody cloned a monitor with its tag, neither is changed and both ids are named; the rest goes on."""
    first = push(account)["monitor health"].id
    api.monitors[77] = {**api.monitors[first], "id": 77}  # type: ignore[index]
    done = push(account, Options(thresholds={"health.critical": 4, "loop-lag.critical": 300}))
    assert done["monitor health"].action == "conflict"
    assert str(first) in done["monitor health"].problem
    assert "77" in done["monitor health"].problem
    assert done["monitor loop-lag"].action == "update"
    assert done["slo availability"].action == "skipped" or done["slo availability"].action == "unchanged"
    assert api.monitors[77]["options"]["thresholds"]["critical"] == 3


@pytest.mark.slow
def test_half_way_failure_reports_and_a_repeated_push_finishes(api: StandIn, account: Account) -> None:
    """What fails is named, what refers to it is left out, the rest is done; pushing again does the remainder."""
    api.failures.append(Failure("POST", "/api/v1/slo", 400, {"errors": ["SLO quota reached"]}, times=3))
    done = push(account)
    assert done["slo task-success"].action == "failed"
    assert "SLO quota reached" in done["slo task-success"].problem
    assert done["monitor slo-task-success-burn-rate"].action == "skipped"
    assert done["monitor slo-task-success-burn-rate"].problem == "needs slo task-success"
    assert done["dashboard overview"].action == "skipped"
    assert done["dashboard tasks"].action == "create"
    again = push(account)
    assert again["dashboard tasks"].action == "unchanged"
    assert {key for key, change in again.items() if change.action == "create"} == {
        key for key, change in done.items() if change.action in ("failed", "skipped")
    }
    assert actions(push(account)) == {"unchanged"}


def test_too_many_requests_are_repeated_after_the_time_that_datadog_says(
    api: StandIn, account: Account, waits: list[float]
) -> None:
    """429 waits for X-RateLimit-Reset, or longer and longer without it, and goes on."""
    api.failures.append(Failure("POST", "/api/v1/monitor", 429, headers={"X-RateLimit-Reset": "7"}, times=2))
    api.failures.append(Failure("POST", "/api/v1/slo", 429, times=2))
    assert actions(push(account)) == {"create"}
    assert waits == [7.0, 7.0, 1.0, 2.0]
    assert len(api.slos) == 3


def test_endless_429_is_given_up(api: StandIn, account: Account, waits: list[float]) -> None:
    """After some attempts the request fails with what to expect."""
    api.failures.append(
        Failure("GET", "/api/v1/monitor", 429, headers={"X-RateLimit-Reset": "9999"}, times=99)
    )
    with pytest.raises(AccountError, match="429: too many requests, also after 5 attempts") as caught:
        fetch(account)
    assert caught.value.status == 429
    assert waits == [60.0] * 4


@pytest.mark.slow
def test_server_errors_are_repeated_only_where_nothing_is_created_twice(
    api: StandIn, account: Account, waits: list[float]
) -> None:
    """A 502 on GET and PUT is tried again; on POST it is reported, for the object may exist."""
    push(account)
    api.failures.append(Failure("GET", "/api/v1/monitor", 502, times=1))
    api.failures.append(Failure("PUT", r"/api/v1/monitor/\d+", 503, times=1))
    assert (
        push(account, Options(thresholds={"loop-lag.critical": 300}))["monitor loop-lag"].action == "update"
    )
    assert len(waits) == 2
    api.failures.append(Failure("POST", "/api/v1/monitor", 500, times=1))
    done = push(account, Options(service="web"))
    failed = [change for change in done.values() if change.action == "failed"]
    assert len(failed) == 1
    assert "500: Datadog is out of order" in failed[0].problem


def test_conflict_on_create_is_reported_as_such(api: StandIn, account: Account) -> None:
    """A 409 is a conflict with Datadog's own words, not a failure to repeat."""
    body = {"errors": ["Duplicate of an existing monitor_id:42"]}
    api.failures.append(Failure("POST", "/api/v1/monitor", 409, body))
    done = push(account)
    conflicts = [change for change in done.values() if change.action == "conflict"]
    assert len(conflicts) == 1
    assert "monitor_id:42" in conflicts[0].problem


def test_refused_keys_are_explained_without_being_shown(api: StandIn) -> None:
    """401 and 403 say which key is wrong; no key appears in any message."""
    with pytest.raises(AccountError, match="401: DD_API_KEY is not valid for this site") as caught:
        fetch(Account(api.url, "wrong_api_key_1", APP_KEY))
    assert "wrong_api_key_1" not in str(caught.value)
    with pytest.raises(AccountError, match="403: refused: DD_API_KEY or DD_APP_KEY") as caught:
        fetch(Account(api.url, API_KEY, "wrong_app_key_1"))
    assert "wrong_app_key_1" not in str(caught.value)
    assert API_KEY not in repr(Account(api.url, API_KEY, APP_KEY))


def test_key_echoed_by_the_server_is_masked(api: StandIn, account: Account) -> None:
    """Even if the answer repeats a key, the message does not."""
    api.failures.append(Failure("GET", "/api/v1/monitor", 400, {"errors": [f"bad key {API_KEY}"]}))
    with pytest.raises(AccountError, match=r"bad key \*\*\*"):
        fetch(account)


def test_no_network_says_where_nothing_answers(waits: list[float]) -> None:
    """A refused connection names the address and what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            AccountError, match=f"no answer from {url}: check the network, the proxy and DD_SITE"
        ):
            fetch(Account(url, API_KEY, APP_KEY, sleep=waits.append))
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_answer_that_is_not_json_is_explained(api: StandIn, account: Account) -> None:
    """A captive portal's page is not taken for an account without monitors."""
    api.failures.append(Failure("GET", "/api/v1/monitor", 200, b"<html>Sign in</html>", times=9))
    with pytest.raises(AccountError, match="is this really Datadog's API"):
        fetch(account)


def test_long_lists_are_read_to_their_end(api: StandIn, account: Account) -> None:
    """Monitors beyond the first page are found too."""
    for id in range(250):
        api.monitors[id] = {"id": id, "tags": ["managed-by:streaming-dd", f"streaming-dd:m{id}"]}
        api.slos[str(id)] = {"id": str(id), "tags": ["managed-by:streaming-dd", f"streaming-dd:s{id}"]}
    assert len(fetch(account).found) == 500


@pytest.mark.slow
def test_drift_is_found_and_repaired(api: StandIn, account: Account) -> None:
    """What was changed by hand in the account is named by its path, and put right by a push."""
    done = push(account)
    overview = api.dashboards[str(done["dashboard overview"].id)]
    overview["widgets"][0]["definition"]["widgets"][0]["definition"]["title"] = "Mine"
    overview["widgets"].append({"definition": {"type": "note", "content": "x"}})
    api.slos[str(done["slo task-success"].id)]["thresholds"][0]["target"] = 90
    by_name = {change.asset.name: change for change in plan(render(), fetch(account), OPTIONS)}
    assert by_name["overview"].differences == ["widgets"]
    assert by_name["task-success"].differences == ["thresholds[0].target"]
    push(account)
    assert actions(push(account)) == {"unchanged"}


def test_fields_that_only_datadog_writes_are_no_difference() -> None:
    """Ids, null for empty, the order of tags and the two names of one monitor type do not count."""
    ours = {"type": "query alert", "tags": ["a", "b"], "widgets": [{"x": 1}], "available_values": []}
    theirs = {
        "type": "metric alert",
        "tags": ["b", "a"],
        "widgets": [{"x": 1, "id": 5}],
        "available_values": None,
        "id": 1,
    }
    assert list(differences(ours, theirs)) == []
    assert list(differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}})) == ["a.b[1]"]
    assert list(differences({"type": "composite"}, {"type": "query alert"})) == ["type"]


def test_symbols_come_back_in_the_place_of_ids() -> None:
    """What was pulled reads like the files; numbers that are no ids stay numbers."""
    ids = {("monitor", "health"): 1234567, ("slo", "task-success"): "abc123"}
    document = {
        "monitor_ids": [1234567],
        "query": 'burn_rate("abc123") > 5',
        "value": 1234567,
        "message": "abc123",
    }
    assert symbolised(document, ids) == {
        "monitor_ids": ["${monitor:health}"],
        "query": 'burn_rate("${slo:task-success}") > 5',
        "value": 1234567,
        "message": "abc123",
    }


def test_order_puts_referred_before_referring(assets: list[Asset]) -> None:
    """Whatever order assets come in, each stands after what it refers to."""
    ordered = in_order(list(reversed(assets)))
    seen: set[tuple[str, str]] = set()
    for asset in ordered:
        assert asset.references() <= seen
        seen.add((asset.kind, asset.name))


def test_metadata_is_written_for_metrics_that_exist(api: StandIn, account: Account) -> None:
    """Unit, type and description are put right once; a metric not received yet is skipped, with the reason."""
    api.metadata["streaming.tasks.active"] = {"type": "gauge", "unit": "task", "description": "old"}
    lines = list(push_metadata(account, OPTIONS, dry_run=False))
    changed = [line for line in lines if line.startswith("update") and "percentiles" not in line]
    assert changed == ["update    metric    streaming.tasks.active: description, short_name"]
    assert sum("not received yet" in line for line in lines) == len(metadata(OPTIONS)) - 1
    assert not [line for line in push_metadata(account, OPTIONS, dry_run=False) if line.startswith("update")]


def test_percentiles_are_enabled_for_distributions(api: StandIn, account: Account) -> None:
    """Without them Datadog answers p95: with nothing: created or switched on, keeping every tag queryable."""
    options = Options(timers="distribution")
    for name in ("streaming.task.duration", "streaming.loop.lag", "streaming.stream.gap"):
        api.metadata[name] = {"type": "distribution"}
    api.tag_configurations["streaming.loop.lag"] = {"include_percentiles": False, "tags": ["env"]}
    api.tag_configurations["streaming.stream.gap"] = {"include_percentiles": True, "tags": []}
    list(push_metadata(account, options, dry_run=True))
    assert api.writes() == []
    lines = [line for line in push_metadata(account, options, dry_run=False) if "percentiles" in line]
    assert len(lines) == len(metadata(options)) - 1 - sum(
        row["metric_type"] != "distribution" for row in metadata(options)
    )
    assert api.tag_configurations["streaming.task.duration"] == {
        "include_percentiles": True,
        "metric_type": "distribution",
        "tags": [],
        "exclude_tags_mode": True,
    }
    assert api.tag_configurations["streaming.loop.lag"] == {"include_percentiles": True, "tags": ["env"]}


def test_one_refused_metric_does_not_end_the_rest(api: StandIn, account: Account) -> None:
    """A failure is a line; the others are still written."""
    for name in ("streaming.tasks.active", "streaming.tasks.peak"):
        api.metadata[name] = {}
    api.failures.append(Failure("PUT", "/api/v1/metrics/streaming.tasks.active", 403))
    lines = list(push_metadata(account, OPTIONS, dry_run=False))
    assert any(line.startswith("failed    metric    streaming.tasks.active: PUT") for line in lines)
    assert any(line.startswith("update    metric    streaming.tasks.peak") for line in lines)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "DD_API_KEY: is not set"),
        ({"DD_API_KEY": API_KEY}, "DD_APP_KEY: is not set"),
        ({"DD_API_KEY": "short", "DD_APP_KEY": APP_KEY}, "DD_API_KEY: does not look like a key"),
        (
            {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY, "DD_SITE": "datadog.com"},
            "'datadog.com' is no Datadog site",
        ),
        (
            {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY, "DATADOG_HOST": "localhost"},
            "DATADOG_HOST: 'localhost' is no URL",
        ),
    ],
)
def test_missing_or_wrong_settings_are_named(environ: dict[str, str], message: str) -> None:
    """Keys and site come from the environment; what is wrong with them is said before anything is sent."""
    with pytest.raises(ConfigError, match=message) as caught:
        account(environ)
    assert "short" not in str(caught.value)


def test_site_gives_the_address() -> None:
    """Each site has its address; none is the first."""
    keys = {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY}
    assert account(keys).url == "https://api.datadoghq.com"
    assert account({**keys, "DD_SITE": SITES[3]}).url == "https://api.datadoghq.eu"
