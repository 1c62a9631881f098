// Errors: one row per kind of fault (type, place, operation); one of them with its stack, traces, logs and tasks.
import { html } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { href, parameters, range, useAddress } from "../state.js";
import { Chart } from "../chart.js";
import { Card, Copy, Empty, Failure, State, walk } from "../parts.js";
import { ago, count, day, quoted, whole } from "../format.js";
import { Bars } from "./histogram.js";
import { SearchBox } from "./search-box.js";
import { scoped } from "./traces.js";

export function Errors() {
  const { path } = useAddress(), text = parameters().get("query") || "";
  const { data, error } = useGet("errors", { ...range(), query: scoped(text), fingerprint: path[1] });
  if (path[1]) return html`<p class="links"><a href=${href("/errors")}>← errors</a></p>${error ? html`<${Failure} error=${error} />` : !data ? html`<p class="loading">Looking …</p>`
    : data.errors[0] ? html`<${One} row=${data.errors[0]} />` : html`<${Empty} title="Not in this range">This error did not happen in the time range and filters above.</${Empty}>`}`;
  return html`<${SearchBox} text=${text} placeholder='service:web @error.message:*timeout*   ( / )' error=${error} />
    ${!data ? !error && html`<p class="loading">Grouping …</p>` : !data.errors.length ? html`<${Empty} title=${text ? "No error matches" : "No error in this range"}>${text ? html`<a href=${href("/errors")}>Clear the search</a>` : "An exception on a span or in a log line appears here, each kind once."}</${Empty}>`
    : html`<${Card} title=${count(data.errors.length, "kind") + " of error, latest first"}><div class="scroll" tabindex="0" role="region" aria-label="Errors"><table class="data phone errors"><thead><tr><th scope="col">error</th><th scope="col">operation</th><th scope="col" class="n">count</th><th scope="col">over time</th><th scope="col">first</th><th scope="col">last</th><th scope="col">service · version</th></tr></thead>
      <tbody onKeyDown=${walk}>${data.errors.map((row) => html`<tr key=${row.fingerprint}><td class="grow"><a data-row href=${href("/errors/" + row.fingerprint, { query: text })}><b>${row.kind}</b></a> <span>${row.message.slice(0, 160)}</span><div class="dim mono">${where(row)}</div></td>
        <td data-name="operation">${row.operation || "–"}</td><td class="n" data-name="count">${whole(row.count)}</td><td data-name="over time"><${Bars} counts=${row.counts} /></td><td class="nowrap" data-name="first" title=${day(row.first)}>${ago(row.first, data.now)}</td><td class="nowrap" data-name="last" title=${day(row.last)}>${ago(row.last, data.now)}</td><td data-name="service · version">${row.services.join(", ")}${row.versions.length > 0 && html` <span class="dim">${row.versions.join(", ")}</span>`}</td></tr>`)}</tbody></table></div></${Card}>
    <p class="dim">One exception is one error, however many spans it went through and lines told of it. Looked at: the newest 5 000 failed spans and lines of the range.</p>`}`;
}

const where = (row) => (row.function ? `${row.file.split(/[\\/]/).slice(-2).join("/")}:${row.line} in ${row.function}` : "");

function One({ row }) {
  const times = row.counts.map((_, i) => row.start + i * row.step);
  return html`<section class="card"><header><h2><${State} state="error">${row.kind}</${State}> ${row.operation}</h2></header><p class="message">${row.message || "(no message)"}</p>
      <dl class="facts"><dt>seen</dt><dd><b>${whole(row.count)}</b> times in this range, first ${day(row.first)}, last ${day(row.last)}</dd><dt>service</dt><dd>${row.services.join(", ") || "–"}</dd>
      <dt>version</dt><dd>${row.versions.join(", ") || "–"}</dd>${row.resources.length > 0 && html`<dt>resource</dt><dd>${row.resources.join(", ")}</dd>`}${row.function && html`<dt>raised in</dt><dd><code>${row.file}:${row.line}</code> in <code>${row.function}</code></dd>`}<dt>fingerprint</dt><dd><code>${row.fingerprint}</code></dd></dl></section>
    <section class="card histogram"><${Chart} times=${times} curves=${[{ alias: "errors", group: {}, values: row.counts }]} kind="bars" height=${110} label="occurrences over time" /></section>
    ${row.stack && html`<${Card} title="Stack of the latest" tools=${html`<${Copy} text=${row.stack} />`}><pre class="stack" tabindex="0">${row.stack}</pre></${Card}>`}
    <div class="two"><${Card} title=${count(row.trace_count, "trace")}>${row.traces.length ? html`<ul class="plain">${row.traces.map((trace) => html`<li><a href=${href("/traces/" + trace.trace_id, trace.span_id ? { span: trace.span_id } : {})}>…${trace.trace_id.slice(-16)}</a> <span class="dim">${day(trace.time)}</span> · <a href=${href("/logs", { query: `trace_id:${trace.trace_id}` })}>logs</a></li>`)}</ul>` : html`<p class="dim">It was told by log lines without a trace.</p>`}</${Card}>
      <${Card} title=${count(row.logs, "log line")}><p><a href=${href("/logs", { query: `@error.kind:${quoted(row.kind.split(".").pop())} OR @error.kind:${quoted(row.kind)}` })}>lines with ${row.kind}</a></p></${Card}>
      ${row.task_count > 0 && html`<${Card} title=${count(row.task_count, "task")}><ul class="plain">${row.tasks.map((task) => html`<li><a href=${href("/tasks", { query: task.id || task.model })}>${[task.app, task.model, task.id].filter(Boolean).join(" · ")}</a></li>`)}</ul></${Card}>`}</div>`;
}
