// Traces: search, a scatter of durations, the list; and one trace as a waterfall with its log lines and linked traces.
import { html, useMemo, useRef, useState } from "../vendor/preact.js";
import { get, useGet } from "../data.js";
import { change, chosenTags, go, href, parameters, range, useAddress } from "../state.js";
import { Card, Copy, Empty, Failure, State, level } from "../parts.js";
import { clock, count, day, number, quoted, seconds } from "../format.js";
import { Flame } from "./flame.js";
import { Histogram } from "./histogram.js";
import { LogRow } from "./log-rows.js";
import { SpanRows } from "./span-rows.js";
import { SearchBox } from "./search-box.js";

export function Traces() {
  const { path } = useAddress();
  return path[1] ? html`<${Trace} key=${path[1]} id=${path[1]} />` : html`<${List} />`;
}

// The search, with the template variables of the top bar added.
export function scoped(query, keys = ["env", "service", "version"]) {
  return [query ? `(${query})` : "", ...chosenTags().filter(([key]) => keys.includes(key)).map(([key, value]) => `${key}:${quoted(value)}`)].filter(Boolean).join(" ");
}

function List() {
  const query = parameters(), text = query.get("query") || "", all = query.get("all");
  const asked = { ...range(), query: scoped(text), all, limit: 200 }, { data, error } = useGet("traces", asked), counts = useGet("traces/histogram", { ...asked, limit: null });
  const kinds = [[null, "entry spans"], ["roots", "root spans only"], ["1", "all spans"]];
  return html`<${SearchBox} text=${text} placeholder='service:web status:error @duration:>1s resource_name:"GET /"   ( / )' error=${error}
      hints=${[["errors", "status:error"], ["slower than 1 s", "@duration:>1s"], ["tasks", "operation_name:task.run"], ["streams", "operation_name:sse.request"]]}>
      <div class="segmented" role="group" aria-label="Which spans">${kinds.map(([value, label]) => html`<button type="button" aria-pressed=${all === value} onClick=${() => change({ all: value })}>${label}</button>`)}</div></${SearchBox}>
    ${!data ? !error && html`<p class="loading">Searching …</p>` : !data.spans.length ? html`<${Empty} title=${text ? "No span matches" : "No trace in this range"}>${text ? html`<a href=${href("/traces")}>Clear the search</a>` : "A trace arrives when its first span has ended."}</${Empty}>`
    : html`<${Histogram} data=${counts.data} label="spans by status" /><${Found} key=${JSON.stringify(asked)} first=${data.spans} asked=${asked} what=${all === "1" ? "spans" : all === "roots" ? "root spans" : "entry spans"} />`}`;
}

// The newest, and what was asked for before them.
function Found({ first, asked, what }) {
  const [more, setMore] = useState([]), [end, setEnd] = useState(false), [error, setError] = useState(null);
  const seen = new Set(first.map((span) => span.id)), spans = [...first, ...more.filter((span) => !seen.has(span.id))];
  const older = async () => {
    try {
      const found = await get("traces", { ...asked, before_id: spans.at(-1).id });
      setMore([...more, ...found.spans]);
      setEnd(found.spans.length < 200);
    } catch (problem) { setError(problem); }
  };
  return html`<${Scatter} spans=${spans} /><${Card} title=${`${spans.length}${first.length === 200 && !end ? " newest" : ""} ${what}`}><div class="scroll" tabindex="0"><${SpanRows} spans=${spans} /></div>
    ${error && html`<${Failure} error=${error} />`}${first.length === 200 && !end && html`<p><button type="button" onClick=${older}>Older spans</button></p>`}</${Card}>`;
}

function Scatter({ spans }) {
  const box = useRef(null), [drag, setDrag] = useState(null);
  const times = spans.map((span) => span.start_ns / 1e9), from = Math.min(...times), to = Math.max(...times, from + 1);
  const logs = spans.map((span) => Math.log10(Math.max(span.duration_ns, 1000))), low = Math.min(...logs), high = Math.max(...logs, low + 0.5);
  const x = (span) => ((span.start_ns / 1e9 - from) / (to - from)) * 96 + 2, y = (span) => 92 - ((Math.log10(Math.max(span.duration_ns, 1000)) - low) / (high - low)) * 84;
  const at = (event) => { const r = box.current.getBoundingClientRect(); return [((event.clientX - r.left) / r.width) * 100, ((event.clientY - r.top) / r.height) * 100]; };
  const end = (event) => {
    if (!drag) return;
    const [x2, y2] = at(event), [x1, y1] = drag.from;
    setDrag(null);
    if (Math.abs(x2 - x1) < 1.5) return;
    const time = (p) => from + ((p - 2) / 96) * (to - from), long = (p) => 10 ** (low + ((92 - p) / 84) * (high - low)) / 1e6;
    const [a, b] = [Math.max(y1, y2), Math.min(y1, y2)].map((p) => Math.max(0, long(p)).toPrecision(4));
    const own = parameters().get("query") || "", limits = Math.abs(y2 - y1) > 4 ? `@duration:>=${Number(a)}ms @duration:<=${Number(b)}ms` : "";
    change({ start: Math.floor(time(Math.min(x1, x2))), end: Math.ceil(time(Math.max(x1, x2))) + 1, range: null, query: `${own} ${limits}`.trim() });
  };
  return html`<section class="card"><header><h2>Duration by start</h2><div class="tools dim">errors are squares · drag a box to filter</div></header>
    <svg class="scatter" ref=${box} viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=${`${count(spans.length, "span")} from ${clock(from)} to ${clock(to)}, ${seconds(10 ** low / 1e9)} to ${seconds(10 ** high / 1e9)}; the table below lists them`}
      onPointerDown=${(event) => { event.currentTarget.setPointerCapture(event.pointerId); setDrag({ from: at(event), to: at(event) }); }} onPointerMove=${(event) => drag && setDrag({ ...drag, to: at(event) })} onPointerUp=${end}>
      ${drag && html`<rect class="box" x=${Math.min(drag.from[0], drag.to[0])} y=${Math.min(drag.from[1], drag.to[1])} width=${Math.abs(drag.to[0] - drag.from[0])} height=${Math.abs(drag.to[1] - drag.from[1])} />`}
    </svg>
    <div class="dots">${spans.map((span) => html`<i class=${span.error ? "bad" : ""} style=${{ left: `${x(span)}%`, top: `${y(span)}%` }}></i>`)}
      <span class="dim top-left">${seconds(10 ** high / 1e9)}</span><span class="dim bottom-left">${seconds(10 ** low / 1e9)} · ${clock(from)}</span><span class="dim bottom-right">${clock(to)}</span></div></section>`;
}

// --- one trace -------------------------------------------------------------------------------------------------------

function Trace({ id }) {
  const { data, error } = useGet("traces/" + encodeURIComponent(id));
  if (error) return html`<p><a href=${href("/traces")}>← traces</a></p><${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Putting the trace together …</p>`;
  return html`<${Waterfall} trace=${data} />`;
}

// Parents before children; a span whose parent is not here is a root.
function tree(spans) {
  const ids = new Set(spans.map((span) => span.span_id)), children = new Map(), rows = [];
  for (const span of spans) {
    const parent = ids.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : "";
    children.set(parent, [...(children.get(parent) || []), span]);
  }
  const visit = (parent, depth) => { for (const span of children.get(parent) || []) { rows.push({ span, depth, kids: children.get(span.span_id)?.length || 0 }); if (depth < 200) visit(span.span_id, depth + 1); } };
  visit("", 0);
  const self = new Map(rows.map(({ span }) => [span.span_id, span.duration_ns - covered(span, children.get(span.span_id) || [])]));
  return { rows, self };
}

function covered(span, kids) {
  let total = 0, until = span.start_ns;
  const end = span.start_ns + span.duration_ns;
  for (const kid of [...kids].sort((a, b) => a.start_ns - b.start_ns)) {
    const from = Math.max(kid.start_ns, until), to = Math.min(kid.start_ns + kid.duration_ns, end);
    if (to > from) { total += to - from; until = to; }
  }
  return total;
}

function Waterfall({ trace }) {
  const { spans, logs } = trace, { rows, self } = useMemo(() => tree(spans), [trace]);
  const [folded, setFolded] = useState(new Set()), [onlyLogs, setOnlyLogs] = useState(false), list = useRef(null);
  const wanted = parameters().get("span"), selected = rows.find(({ span }) => span.span_id === wanted)?.span || rows[0]?.span;
  const times = [...spans.flatMap((span) => [span.start_ns, span.start_ns + span.duration_ns]), ...logs.map((log) => log.timestamp * 1e9)];
  const start = Math.min(...times), length = Math.max(...times) - start || 1, place = (ns) => ((ns - start) / length) * 100;
  const services = [...new Set(spans.map((span) => span.service))], ink = (service) => `s${(services.indexOf(service) % 8) + 1}`;
  const shown = [];
  let under = Infinity;
  for (const row of rows) {
    if (row.depth > under) continue;
    under = folded.has(row.span.span_id) ? row.depth : Infinity;
    if (!onlyLogs) shown.push(row);
    const own = logs.filter((log) => log.span_id === row.span.span_id);
    for (const log of own) shown.push({ log, depth: row.depth + 1 });
  }
  const known = new Set(spans.map((span) => span.span_id));
  for (const log of logs) if (!known.has(log.span_id)) shown.push({ log, depth: 0 });
  const flame = parameters().get("view") === "flame", select = (span) => change({ span: span.span_id }, true);
  const fold = (id, on) => setFolded((old) => { const next = new Set(old); if (on) next.add(id); else next.delete(id); return next; });
  const keys = (event) => {
    const items = [...list.current.querySelectorAll("[data-row]")], at = items.indexOf(document.activeElement);
    const step = (to) => { if (items[to]) { event.preventDefault(); event.stopPropagation(); items[to].focus(); } };
    if (event.key === "ArrowDown") step(at + 1);
    else if (event.key === "ArrowUp") step(at - 1);
    else if (event.key === "e") { event.stopPropagation(); const rest = [...items.slice(at + 1), ...items.slice(0, at + 1)]; rest.find((item) => item.dataset.error)?.focus(); rest.find((item) => item.dataset.error)?.click(); }
    else if (event.key === "l") { event.stopPropagation(); setOnlyLogs(!onlyLogs); }
    else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && document.activeElement.dataset.span) { event.preventDefault(); fold(document.activeElement.dataset.span, event.key === "ArrowLeft"); }
  };
  const root = rows[0]?.span, errors = spans.filter((span) => span.error).length;
  return html`<p class="links"><a href=${href("/traces")}>← traces</a></p>
    <section class="card trace-head"><h2>${root ? html`${root.service} · ${root.name} · ${root.resource}` : "Log lines of a trace that has not ended"}</h2>
      <p class="links"><span>${root ? day(start / 1e9) : ""}</span><b>${seconds(length / 1e9)}</b><span>${count(spans.length, "span")}</span>${errors > 0 && html`<${State} state="error">${errors} failed</${State}>`}<span>${count(logs.length, "log line")}</span>
      <code class="id">${trace.trace_id}</code><${Copy} text=${trace.trace_id} label="copy dd.trace_id" /><a href=${href("/logs", { query: `trace_id:${trace.trace_id}` })}>logs</a></p>
      <${Links} trace=${trace} /></section>
    ${!spans.length && html`<p class="notice">No span has arrived: one is sent when it ends. Its log lines are already here.</p>`}
    <div class="trace"><section class="card waterfall" ref=${list} onKeyDown=${keys} aria-label="Waterfall">
      <header><div class="services">${services.map((service) => html`<span><i style=${{ background: `var(--${ink(service)})` }}></i>${service}</span>`)}</div><div class="tools"><div class="segmented" role="group" aria-label="Drawn as">${[[null, "waterfall"], ["flame", "flame graph"]].map(([value, label]) => html`<button type="button" aria-pressed=${flame === (value !== null)} onClick=${() => change({ view: value }, true)}>${label}</button>`)}</div>${!flame && html`<button type="button" class="small" aria-pressed=${onlyLogs} onClick=${() => setOnlyLogs(!onlyLogs)}>logs only (l)</button>`}</div></header>
      ${flame ? html`<${Flame} rows=${rows} place=${place} ink=${ink} selected=${selected} select=${select} />` : html`<${Minimap} rows=${rows} place=${place} ink=${ink} />
      <div class="scale" aria-hidden="true">${[0, 25, 50, 75, 100].map((p) => html`<span style=${{ left: `${p}%` }}>${seconds((length * p) / 1e11)}</span>`)}</div>
      <ul class="plain">${shown.slice(0, 1500).map((row) => row.log ? html`<${LogLine} key=${"l" + row.log.id} log=${row.log} depth=${row.depth} place=${place} />`
    : html`<${SpanLine} key=${row.span.id} ...${row} ink=${ink(row.span.service)} place=${place} logs=${logs} selected=${row.span === selected} folded=${folded.has(row.span.span_id)} select=${select} fold=${fold} />`)}</ul>
      ${shown.length > 1500 && html`<p class="dim">${shown.length - 1500} more rows: fold some spans.</p>`}`}
    </section>
    ${selected && html`<${Detail} key=${selected.id} span=${selected} self=${self.get(selected.span_id)} trace=${trace} />`}</div>`;
}

function Minimap({ rows, place, ink }) {
  const shown = rows.slice(0, 300), height = Math.max(14, Math.min(60, shown.length * 2.5));
  return html`<svg class="minimap" viewBox=${`0 0 100 ${shown.length || 1}`} preserveAspectRatio="none" height=${height} aria-hidden="true">${shown.map(({ span }, i) => html`<rect x=${place(span.start_ns)} y=${i + 0.1} width=${Math.max(0.3, place(span.start_ns + span.duration_ns) - place(span.start_ns))} height="0.8" style=${{ fill: `var(--${span.error ? "bad" : ink(span.service)})` }} />`)}</svg>`;
}

function SpanLine({ span, depth, kids, ink, place, logs, selected, folded, select, fold }) {
  const left = place(span.start_ns), width = Math.max(0.25, place(span.start_ns + span.duration_ns) - left), beyond = left + width > 78, inside = beyond && left < 22;
  return html`<li class=${"spanline" + (selected ? " selected" : "")}>
    <div class="name" style=${{ paddingLeft: `${Math.min(depth, 14) * 14}px` }}>${kids ? html`<button type="button" class="fold" tabindex="-1" aria-label=${folded ? "unfold" : "fold"} onClick=${() => fold(span.span_id, !folded)}>${folded ? "▸" : "▾"}</button>` : html`<i class="fold"></i>`}
      <button type="button" class="pick" data-row data-span=${span.span_id} data-error=${span.error ? "1" : undefined} aria-pressed=${selected} onClick=${() => select(span)} title=${`${span.name} ${span.resource}`}>${span.error ? html`<b class="bad">✕ </b>` : ""}<b>${span.name}</b> <span>${span.resource !== span.name ? span.resource : ""}</span></button></div>
    <div class="track" onClick=${() => select(span)}><i class=${"bar" + (span.error ? " failed" : "")} style=${{ left: `${left}%`, width: `${width}%`, backgroundColor: `var(--${ink})` }}></i>
      ${logs.filter((log) => log.span_id === span.span_id).map((log) => html`<i class=${"mark " + level(log.status)} title=${log.message.slice(0, 200)} style=${{ left: `${place(log.timestamp * 1e9)}%` }}></i>`)}
      <span class=${"took" + (inside ? " inside" : "")} style=${inside ? { right: `${100 - left - width}%` } : beyond ? { right: `${100 - left}%` } : { left: `${left + width}%` }}>${seconds(span.duration_ns / 1e9)}</span></div></li>`;
}

function LogLine({ log, depth, place }) {
  const [open, setOpen] = useState(false);
  return html`<li class="logline"><div class="name" style=${{ paddingLeft: `${Math.min(depth, 14) * 14}px` }}><i class="fold"></i><button type="button" class="pick" data-row data-error=${level(log.status) === "bad" ? "1" : undefined} aria-expanded=${open} onClick=${() => setOpen(!open)}><${State} state=${log.status} /> <span class="message">${log.message.slice(0, 300)}</span></button></div>
    <div class="track"><i class=${"mark " + level(log.status)} style=${{ left: `${place(log.timestamp * 1e9)}%` }}></i></div>
    ${open && html`<ul class="rows logs wide"><${LogRow} log=${log} /></ul>`}</li>`;
}

// What our spans say of their links, and what a span that links here is to this trace.
const KINDS = { submitted_by: "was submitted by", watches: "watches", continues: "continues", previous_segment: "continues" };
const FROM = { "task.run": "submitted", "sse.request": "watched by" };

function Links({ trace }) {
  const to = trace.spans.flatMap((span) => (span.links || []).map((link) => ({ ...link, from: span }))), from = trace.linked_from || [];
  if (!to.length && !from.length) return null;
  return html`<ul class="plain linked">
    ${to.slice(0, 20).map((link) => html`<li>↰ <b>${link.from.name}</b> ${KINDS[link.attributes?.["link.kind"]] || "links to"} <a href=${href("/traces/" + link.trace_id, { span: link.span_id })}>trace …${link.trace_id.slice(-12)}</a> <span class="dim">${Object.entries(link.attributes || {}).filter(([key]) => key !== "link.kind").map(([key, value]) => `${key}: ${value}`).join(", ")}</span></li>`)}
    ${from.slice(0, 50).map((span) => html`<li>↳ ${FROM[span.name] || "linked from"} <a href=${href("/traces/" + span.trace_id, { span: span.span_id })}>${span.name} · ${span.resource}</a> <span class="dim">${clock(span.start_ns / 1e9)}, took ${seconds(span.duration_ns / 1e9)}</span> ${span.error ? html`<${State} state="error" />` : ""}</li>`)}</ul>`;
}

function Detail({ span, self, trace }) {
  const { attributes } = span, stack = attributes["error.stack"] || attributes["error.traceback"];
  const message = attributes["error.message"] || attributes["error.msg"];
  const kind = attributes["error.type"];
  const logs = trace.logs.filter((log) => log.span_id === span.span_id);
  const { data } = useGet("services", { ...range(), service: span.service }, { live: false });
  const named = useGet("resources", { service: span.service }, { live: false }).data?.resources;
  const peer = named && data?.services.find((row) => row.operation === span.name && (named[row.resource] ?? row.resource) === span.resource);
  const took = span.duration_ns / 1e9;
  return html`<aside class="card detail-pane" aria-label="Span"><header><h2>${span.name}</h2></header><p class="resource">${span.resource}</p>
    <dl class="facts"><dt>service</dt><dd>${span.service}</dd><dt>started</dt><dd>${day(span.start_ns / 1e9)}</dd><dt>duration</dt><dd><b>${seconds(took)}</b>, self ${seconds((self ?? 0) / 1e9)}</dd>
      ${peer?.p95 && html`<dt>compared</dt><dd>same resource: p95 is ${seconds(peer.p95)}, this is ${number(took / peer.p95, 2)}×</dd>`}
      <dt>span id</dt><dd><code>${span.span_id}</code></dd><dt>parent</dt><dd><code>${span.parent_id}</code></dd></dl>
    ${(message || kind) && html`<div class="failure"><b>${kind || "error"}</b><div>${message}</div></div>`}
    ${stack && html`<details open><summary>stack trace</summary><pre class="stack" tabindex="0">${stack}</pre></details>`}
    ${span.events?.length > 0 && html`<details><summary>${span.events.length} events</summary><ul class="plain">${span.events.map((event) => html`<li><b>${event.name}</b> <span class="dim">${JSON.stringify(event.attributes || {})}</span></li>`)}</ul></details>`}
    ${logs.length > 0 && html`<p><a href=${href("/logs", { query: `span_id:${span.span_id}` })}>${count(logs.length, "log line")} of this span</a></p>`}
    <h3>tags</h3><table class="attributes"><tbody>${Object.entries(attributes).filter(([key]) => !["error.stack", "_dd.span_links"].includes(key)).sort(([a], [b]) => a.startsWith("_") - b.startsWith("_") || a.localeCompare(b)).map(([key, value]) => html`<tr><th scope="row">${key}</th><td>${String(value)}</td></tr>`)}</tbody></table></aside>`;
}
