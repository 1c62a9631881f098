// The metrics there are: kind, cardinality, last value, who uses them; and which of those in use nobody has sent.
import { html, useRef, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change, href, parameters, useAddress } from "../state.js";
import { Card, Empty, Failure, walk } from "../parts.js";
import { ago, number, whole } from "../format.js";
import { Panel } from "./overview.js";

export function Metrics() {
  const { path } = useAddress();
  return path[1] ? html`<${One} key=${path[1]} name=${path[1]} />` : html`<${List} />`;
}

function List() {
  const { data, error } = useGet("metrics"), usage = useGet("usage", {}, { live: false }), bill = useGet("bill", {}, { live: false }), query = parameters(), text = (query.get("query") || "").toLowerCase();
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Listing …</p>`;
  const used = usage.data?.used || {}, rows = data.metrics.filter((row) => row.name.toLowerCase().includes(text)), now = Date.now() / 1000, billed = new Map((bill.data?.metrics || []).map((row) => [row.name, row.billed]));
  return html`<div class="bar"><input type="search" aria-label="Filter metrics" placeholder="filter by name  ( / )" value=${query.get("query") || ""} onInput=${(event) => change({ query: event.target.value }, true)} /><span class="dim">${whole(data.series)} of ${whole(data.max_series)} series</span></div>
    ${Object.keys(data.rejected).length > 0 && html`<p class="notice">The store is full; refused: ${Object.entries(data.rejected).slice(0, 5).map(([name, count]) => `${name} (${whole(count)})`).join(", ")}. A tag of these has too many values.</p>`}
    <${Bill} bill=${bill.data} />
    <${Reverse} never=${usage.data?.never_sent} used=${used} />
    ${!data.metrics.length ? html`<${Empty} title="No metric yet">Send one: <code>echo -n "page.views:1|c" | nc -u -w0 127.0.0.1 8125</code></${Empty}>` : html`<${Card} title=${`${rows.length} metrics`}><div class="scroll" tabindex="0"><table class="data phone"><thead><tr><th scope="col">metric</th><th scope="col">kind</th><th scope="col" class="n">series</th><th scope="col" class="n">billed</th><th scope="col">tags <span class="dim">with their number of values</span></th><th scope="col" class="n">last value</th><th scope="col">last seen</th><th scope="col">used by</th></tr></thead>
      <tbody onKeyDown=${walk}>${rows.slice(0, 400).map((row) => html`<tr key=${row.name}><td class="grow"><a data-row class="mono" href=${href("/metrics/" + encodeURIComponent(row.name))}>${row.name}</a></td><td data-name="kind">${row.kinds.join(" and ")}${row.kinds.length > 1 ? html` <b class="bad">✕ mixed</b>` : ""}</td><td class="n" data-name="series">${whole(row.series)}</td><td class="n" data-name="billed">${billed.has(row.name) ? whole(billed.get(row.name)) : "–"}</td>
        <td data-name="tags"><span class="tags">${Object.entries(row.tags).map(([key, count]) => html`<span class=${"tag " + (count > 100 ? "warn" : "")}>${key} <b>${count}</b></span>`)}</span></td><td class="n" data-name="last value">${number(row.last_value)} <span class="dim">${row.unit}</span></td><td class="nowrap" data-name="last seen">${ago(row.last_time, now)}</td><td data-name="used by"><${Users} of=${used[row.name]} /></td></tr>`)}</tbody></table></div>${rows.length > 400 && html`<p class="dim">${rows.length - 400} more: filter to see them.</p>`}</${Card}>`}`;
}

// What Datadog would charge for: custom metrics of the last hour, the tags that make most of them, what would save some.
function Bill({ bill }) {
  if (!bill?.billed) return null;
  const tags = Object.entries(bill.tags).slice(0, 4);
  return html`<details class="card"><summary><b>${whole(bill.billed)} billed custom metrics</b> in the last hour${bill.metrics[0] ? `, ${whole(bill.metrics[0].billed)} of them ${bill.metrics[0].name}` : ""}</summary>
    <p>${tags.length > 0 && `Leaving a tag out would save: ${tags.map(([tag, saved]) => `${tag} ${whole(saved)}`).join(", ")}. `}${bill.percentiles > 0 && `Percentiles make ${whole(bill.percentiles)} of them. `}Each further host brings about as many again.</p>
    <p class="dim">A name and one combination of tag values is one; a distribution counts ten times with percentiles, <code>trace.*</code> not at all. The rule: <a href=${bill.rule} rel="noreferrer">Datadog's billing page</a>. <code>streaming-dd assets cost</code> lists all.</p></details>`;
}

function Users({ of }) {
  if (!of) return html`<span class="dim">nobody</span>`;
  return html`<span class="links">${of.dashboards.map((name) => html`<a href=${href("/dashboards/" + name)}>${name}</a>`)}${of.monitors.map((name) => html`<a href=${href("/monitors/" + name)}>⚑ ${name}</a>`)}</span>`;
}

function Reverse({ never, used }) {
  if (!never) return null;
  if (!never.length) return html`<p class="notice good">Every metric that a dashboard or a monitor asks for has been sent.</p>`;
  return html`<details class="card"><summary><b>${never.length === 1 ? "1 metric is asked for by dashboards or monitors, but nobody has sent it yet" : `${never.length} metrics are asked for by dashboards or monitors, but nobody has sent them yet`}</b></summary><ul class="plain never">${never.map((name) => html`<li><code>${name}</code> <${Users} of=${used[name]} /></li>`)}</ul>
    <p class="dim">That is usual for what has not happened yet (a failed task, a WebSocket), and the sign of a typing error otherwise.</p></details>`;
}

// How the values of several series make one: what each worker has is added up; peaks and percentiles are not, the greatest holds.
function together(name, tags) {
  if (/(peak|\.task\.clients|\.max|\.median|\.avg|percentile)$/.test(name)) return "max";
  return "worker" in tags ? "sum" : "avg";
}

function One({ name }) {
  const { data, error } = useGet("metrics", { search: name }), tags = useGet("tags", { metric: name }), [by, setBy] = useState(""), place = useRef(null);
  const row = data?.metrics.find((each) => each.name === name);
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Looking …</p>`;
  if (!row) return html`<p><a href=${href("/metrics")}>← metrics</a></p><${Empty} title="Not sent yet">Nobody has sent <code>${name}</code>.</${Empty}>`;
  const count = row.kinds[0] === "count", group = by ? ` by {${by}}` : "";
  const text = row.kinds[0] === "distribution" ? `p95:${name}{$env,$service,$version}${group}` : count ? `sum:${name}{$env,$service,$version}${group}.as_count()` : `${together(name, row.tags)}:${name}{$env,$service,$version}${group}`;
  return html`<div ref=${place}><p><a href=${href("/metrics")}>← metrics</a></p><${Panel} key=${text} title=${text} kind=${count ? "bars" : "line"} height=${240} request=${{ response_format: "timeseries", queries: [{ data_source: "metrics", name: "a", query: text }], formulas: [{ formula: "a" }] }} />
    <div class="bar"><span>by</span><div class="segmented wrap" role="group" aria-label="Group by">${["", ...Object.keys(row.tags)].map((key) => html`<button type="button" aria-pressed=${by === key} onClick=${() => setBy(key)}>${key || "all together"}</button>`)}</div></div>
    <${Card} title="Tags"><table class="attributes"><tbody>${Object.entries(tags.data || {}).map(([key, values]) => html`<tr><th scope="row">${key}</th><td><span class="tags">${values.slice(0, 60).map((value) => html`<span class="tag">${value || "(no value)"}</span>`)}${values.length > 60 ? html`<span class="dim">and ${values.length - 60} more</span>` : ""}</span></td></tr>`)}</tbody></table></${Card}></div>`;
}
