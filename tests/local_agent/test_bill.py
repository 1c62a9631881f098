"""The bill: billed custom metrics by Datadog's rule, what makes them, what would save some."""

from __future__ import annotations

import pytest
from free_ports import free_port
from local_agent_helpers import START, Clock

from streaming_dd.assets.cost import fetch_bill, render_bill
from streaming_dd.errors import AssetError
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.page_server.bill import bill
from streaming_dd.local_agent.store.aggregate import Aggregator
from streaming_dd.local_agent.store.series import Store


def received(*lines: str) -> Store:
    clock = Clock(START)
    store = Store(clock=clock)
    aggregator = Aggregator(store, clock=clock)
    for line in lines:
        aggregator.feed(line.encode())
    clock.now = START + 10
    aggregator.advance()
    return store


def test_the_example_of_the_billing_page() -> None:
    """Two hosts, two endpoints, two statuses, four combinations seen: 4 for a gauge, 4 x 5 for a timer, 4 x 10 here."""
    seen = ["host:a,endpoint:x,status:200", "host:b,endpoint:x,status:200", "host:b,endpoint:x,status:400",
            "host:b,endpoint:y,status:200"]  # fmt: skip
    store = received(
        *(f"g:1|g|#{tags}" for tags in seen),
        *(f"t:1|ms|#{tags}" for tags in seen),
        *(f"d:1|d|#{tags}" for tags in seen),
    )
    found = bill(store, START + 10)
    rows = {row["name"]: row for row in found["metrics"]}
    assert rows["g"]["billed"] == 4
    assert sum(row["billed"] for name, row in rows.items() if name.startswith("t.")) == 20
    assert (rows["d"]["billed"], rows["d"]["without_percentiles"]) == (40, 20)
    assert found["billed"] == 64
    assert found["hosts"] == 2
    # without the status two combinations become one, and the same holds for endpoint and host
    assert rows["g"]["without_tag"] == {"endpoint": 1, "host": 1, "status": 1}
    assert rows["d"]["without_tag"]["status"] == 10


def test_traces_metrics_and_what_is_older_than_an_hour_are_not_billed() -> None:
    """APM's own metrics are no custom ones, and a series counts in the hours in which it was sent."""
    store = received("trace.web.hits:1|c", "old:1|g")
    assert [row["name"] for row in bill(store, START + 10)["metrics"]] == ["old"]
    assert bill(store, START + 4000)["billed"] == 0


def test_the_dearest_metric_and_tag_are_named() -> None:
    """A tag with an id in it is what one sees first."""
    store = received(*(f"jobs:1|c|#job:{number},app:a" for number in range(30)), "calm:1|g")
    text = render_bill(bill(store, START + 10), 1)
    assert "31 billed custom metrics" in text
    assert "-29 without job" in text
    assert "1 more" in text
    assert "billing/custom_metrics" in text
    assert "nothing to go by" in render_bill(bill(received(), START), 5)


def test_the_command_asks_a_running_agent() -> None:
    """The bill is what the agent's page answers; an address without one is named with what to do."""
    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=free_port())
    with agent.running():
        assert fetch_bill(f"http://127.0.0.1:{agent.page_port}")["billed"] == 0
    with pytest.raises(AssetError, match="running `streaming-dd agent`"):
        fetch_bill(f"http://127.0.0.1:{agent.page_port}")
    with pytest.raises(AssetError, match="write the address"):
        fetch_bill("ftp://here")
