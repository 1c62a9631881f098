// Is it healthy? One screen: five numbers with their course, traffic, latency, tasks, monitors, newest errors.
import { html, useRef } from "../vendor/preact.js";
import { useGet, useQueries } from "../data.js";
import { href, range, useStore } from "../state.js";
import { Chart, Spark, last } from "../chart.js";
import { Card, Copy, Empty, Failure, Nothing, State, Tile } from "../parts.js";
import { ago, number, percent, seconds } from "../format.js";
import { limit, worstFirst } from "../widgets.js";
import { LogRows } from "./log-rows.js";

const SCOPE = "{$env,$service,$version}", TASKS = "{$env,$service,$version,$app,$model}";
const query = (name, text) => ({ data_source: "metrics", name, query: text });
const request = (queries, formulas, extra) => ({ response_format: "timeseries", queries, formulas: formulas.map(([formula, alias]) => ({ formula, alias })), ...extra });

export function Overview() {
  const page = useStore((s) => s.page), overview = useStore((s) => s.overview);
  useStore((s) => s.address);
  if (!overview) return html`<p class="loading">Asking the agent …</p>`;
  const { received, listening } = overview;
  const nothing = !received.samples && !received.spans && !received.logs;
  if (nothing) return html`<${FirstSteps} received=${received} listening=${listening} />`;
  const m = (name) => page.prefix + name, exact = page.timers !== "timer";
  // Percentiles of timers cannot be put together again: what is asked of them is the highest of any series.
  const timer = (name, statistic) => exact || statistic === "max" ? `${statistic}:${m(name)}${exact ? "" : ".max"}${SCOPE}` : `max:${m(name)}.${{ p50: "median", p95: "95percentile" }[statistic]}${SCOPE}`;
  const called = (statistic) => exact || statistic === "max" ? statistic : `highest ${statistic}`;
  const latency = (name, statistics) => request(statistics.map((each) => query(each, timer(name, each))), statistics.map((each) => [each, called(each)]));
  return html`${!received.spans || !received.logs || !received.samples ? html`<${Missing} received=${received} listening=${listening} />` : null}
    <${Tiles} m=${m} firstByte=${timer("http.time_to_first_byte", "p95")} called=${called("p95")} exact=${exact} />
    <div class="split">
      <div class="stack">
        <div class="two">
          <${Panel} title="Requests by status" kind="bars" request=${request([query("a", `sum:${m("http.requests")}${SCOPE} by {status_class}.as_count()`)], [["a", "requests"]])} />
          <${Panel} title="Time to first byte" unit=${{ unit_name: "millisecond" }} request=${latency("http.time_to_first_byte", ["p50", "p95", "max"])} />
          <${Panel} title="Tasks ended" kind="bars" request=${request(["completed", "failed", "cancelled"].map((name) => query(name, `sum:${m("tasks." + name)}${TASKS}.as_count()`)), [["completed", "completed"], ["failed", "failed"], ["cancelled", "cancelled"]])} />
          <${Panel} title="Active tasks by model, mean" kind="area" request=${request([query("a", `sum:${m("tasks.seconds")}${TASKS} by {model}.as_rate()`)], [["a", "active"]])} />
          <${Panel} title="SSE clients and events a second" request=${request([query("a", `sum:${m("clients.active")}${TASKS}`), query("b", `sum:${m("stream.events")}${TASKS}.as_rate()`)], [["a", "clients"], ["b", "events / s"]])} />
          <${Panel} title="Event loop lag" unit=${{ unit_name: "millisecond" }} request=${latency("loop.lag", ["p95", "max"])} />
        </div>
      </div>
      <aside class="stack"><${Watching} /><${NewestErrors} /></aside>
    </div>`;
}

function Tiles({ m, firstByte, called, exact }) {
  const place = useRef(null);
  const tiles = [
    ["Requests", request([query("a", `sum:${m("http.requests")}${SCOPE}.as_rate()`)], [["a", ""]]), "avg", (v) => `${number(v)} /s`, "/services", null],
    ["Request errors", request([query("a", `sum:${m("http.errors")}${SCOPE}.as_count()`), query("b", `sum:${m("http.requests")}${SCOPE}.as_count()`)], [["default_zero(a) / b", ""]]), "sum", percent, "/traces?query=status:error", [0.01, 0.05]],
    [`${called} first byte`, request([query("a", firstByte)], [["a", ""]]), exact ? "percentile" : "max", (v) => seconds(v === null ? null : v / 1000), "/services", [1000, 2000]],
    ["Active tasks", request([query("a", `sum:${m("tasks.active")}${TASKS}`)], [["a", ""]]), "last", (v) => number(v), "/tasks", null],
    ["SSE clients", request([query("a", `sum:${m("clients.active")}${TASKS}`)], [["a", ""]]), "last", (v) => number(v), "/dashboards/streams", null],
  ];
  const span = spanOf();
  const scalar = ([, each, aggregator]) => ({ ...each, response_format: "scalar", queries: each.queries.map((one) => ({ ...one, aggregator })) });
  const answers = useQueries(tiles.flatMap((tile) => [
    { kind: "timeseries", request: tile[1] }, { kind: "scalar", request: scalar(tile) }, { kind: "scalar", request: scalar(tile), shift: span },
  ]), place);
  return html`<div class="tiles" ref=${place}>${tiles.map(([title, , , show, link, limits], i) => {
    const [course, now, before] = answers ? answers.slice(i * 3, i * 3 + 3) : [];
    const value = now?.rows?.[0]?.values?.[0] ?? null, then = before?.rows?.[0]?.values?.[0] ?? null;
    const state = limits && value !== null ? (value > limits[1] ? "bad" : value > limits[0] ? "warn" : "good") : "";
    const [path, own] = link.split("?query=");
    return html`<${Tile} title=${title} state=${state} value=${answers ? show(value) : "…"} link=${href(path, own ? { query: own } : {})}
      sub=${answers ? delta(value, then, show) : " "}><${Spark} values=${course?.curves?.[0]?.values || []} level=${state || "s1"} label=${`${title} over time`} /></${Tile}>`;
  })}</div>`;
}

function spanOf() {
  const now = range();
  if (now.start) return now.end - now.start;
  return parseInt(now.range, 10) * { m: 60, h: 3600 }[now.range.slice(-1)];
}

function delta(value, before, show) {
  if (value === null) return "no data yet";
  if (before === null) return "nothing to compare with before";
  const way = value > before ? "▲" : value < before ? "▼" : "=";
  return `${way} ${show(before)} in the time before`;
}

export function Panel({ title, request: asked, kind = "line", unit, markers, height = 170 }) {
  const place = useRef(null), answers = useQueries([{ kind: "timeseries", request: asked }], place), found = answers?.[0];
  const there = found?.curves?.some((curve) => last(curve.values) !== null);
  return html`<section class="widget" ref=${place}><header><h3>${title}</h3></header><div class="body">
    ${!found ? html`<div class="waiting"></div>` : found.error ? html`<${Failure} error=${found} />` : !there ? html`<${Nothing} empty=${found.empty} />`
      : html`<${Chart} times=${found.times} curves=${found.curves} kind=${kind} unit=${unit} markers=${markers} height=${height} label=${title} />`}</div></section>`;
}

function Watching() {
  const { data, error } = useGet("monitors", range());
  const rows = [...(data?.monitors || [])].sort(worstFirst);
  return html`<${Card} title="Monitors" tools=${html`<a href=${href("/monitors")}>all</a>`}>
    ${error && html`<${Failure} error=${error} />`}
    ${data && !rows.length && html`<${Empty} title="No monitors">Put Datadog's monitor JSON into <code>dd-agent/monitors/</code>.</${Empty}>`}
    <ul class="plain">${rows.slice(0, 9).map((row) => {
    const worst = [...row.groups].sort((a, b) => (b.state === row.state) - (a.state === row.state))[0];
    return html`<li class="watch"><${State} state=${row.state} /><a href=${href("/monitors/" + row.name)}>${row.title}</a>
      <span class="dim">${worst && worst.value !== null ? `${number(worst.value)}${row.unit ? ` ${row.unit}` : ""}, ${limit(row)}` : ""} ${row.state !== "OK" && row.since ? `since ${ago(row.since, data.now).replace(" ago", "")}` : ""}</span></li>`;
  })}</ul></${Card}>`;
}

function NewestErrors() {
  const place = useRef(null);
  const answers = useQueries([{ kind: "list", request: { query: { data_source: "logs_stream", query_string: "status:error $env $service" } } }], place);
  const logs = answers?.[0].logs;
  return html`<section class="card" ref=${place}><header><h2>Newest errors</h2><div class="tools"><a href=${href("/logs", { query: "status:error" })}>all</a></div></header>
    ${!answers ? html`<div class="waiting"></div>` : answers[0].error ? html`<${Failure} error=${answers[0]} />` : !logs.length ? html`<${Empty} title="No error in this range" />` : html`<div class="newest"><${LogRows} logs=${logs.slice(0, 8)} /></div>`}</section>`;
}

const environment = ({ host, dogstatsd_port: dogstatsd, trace_port: traces, logs_port: logs }) =>
  `DD_AGENT_HOST=${host} DD_DOGSTATSD_PORT=${dogstatsd} DD_TRACE_AGENT_PORT=${traces} STREAMING_LOG_AGENT=${host}:${logs} \\\n  uvicorn app:app`;
const CODE = "import streaming_dd as dd\n\napp = dd.instrument(app)";

export function FirstSteps({ received, listening }) {
  const done = (count) => html`<${State} state=${count ? "OK" : "Skipped"}>${count ? "arrived" : "waiting"}</${State}>`;
  return html`<section class="first"><h2>The agent is listening. Nothing has arrived yet.</h2><ol>
    <li><h3>Wrap the application in one line</h3><pre>${CODE}</pre><${Copy} text=${CODE} /></li>
    <li><h3>Run it with the addresses of this agent</h3><pre>${environment(listening)}</pre><${Copy} text=${environment(listening)} /><p class="dim">or let the agent do it: <code>streaming-dd agent -- uvicorn app:app</code></p></li>
    <li><h3>Send a first request; this page notices by itself</h3><p class="ticks">${done(received.samples)} metrics ${done(received.spans)} traces ${done(received.logs)} logs</p></li>
    <li><h3>Or look at the example first</h3><pre>make demo</pre><${Copy} text="make demo" /></li></ol></section>`;
}

function Missing({ received, listening }) {
  const lacking = [["metrics", received.samples, `DogStatsD on UDP port ${listening.dogstatsd_port}`], ["traces", received.spans, `traces on port ${listening.trace_port}`], ["logs", received.logs, `logs on TCP port ${listening.logs_port}`]].filter(([, count]) => !count);
  return html`<p class="notice">No ${lacking.map(([name]) => name).join(" and no ")} so far: the agent takes ${lacking.map(([, , where]) => where).join(", ")}. <code>streaming-dd doctor</code> says what is missing.</p>`;
}
