// Datadog's widgets, rendered from the very JSON of dd-agent/dashboards. What we do not render is a visible card.
import { html, useRef, useState } from "./vendor/preact.js";
import { useGet, useQueries } from "./data.js";
import { href, useStore } from "./state.js";
import { Chart, ChartTable, Spark } from "./chart.js";
import { Empty, Failure, Json, Nothing, State } from "./parts.js";
import { groupName, inUnit, number, seconds } from "./format.js";
import { LogRows } from "./views/log-rows.js";
import { SpanRows } from "./views/span-rows.js";

const RENDERED = {
  timeseries: Timeseries, query_value: QueryValue, toplist: Toplist, query_table: Table, list_stream: List,
  log_stream: LogStream, note: Note, slo: Slo, manage_status: ManageStatus, alert_graph: AlertGraph, distribution: Distribution,
};

export function Widget({ widget, declared }) {
  const definition = widget.definition || {};
  if (definition.type === "group") return html`<${Group} widget=${widget} declared=${declared} />`;
  const Render = RENDERED[definition.type] || Unsupported;
  return html`<${Render} definition=${definition} declared=${declared} />`;
}

export function Grid({ widgets, declared }) {
  return html`<div class="grid12">${(widgets || []).map((widget, i) => html`<div key=${i} class=${"cell " + widget.definition?.type} style=${cell(widget.layout)}><${Widget} widget=${widget} declared=${declared} /></div>`)}</div>`;
}

function cell(layout) {
  if (!layout) return { gridColumn: "span 12" };
  return { "--w": layout.width, "--h": layout.height, gridColumn: `${layout.x + 1} / span ${layout.width}`, gridRow: `${layout.y + 1} / span ${layout.height}` };
}

function Group({ widget, declared }) {
  const [open, setOpen] = useState(true), { title, widgets } = widget.definition;
  return html`<section class="group">
    <h2><button type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}><span aria-hidden="true">${open ? "▾" : "▸"}</span> ${title}</button></h2>
    ${open && html`<${Grid} widgets=${widgets} declared=${declared} />`}
  </section>`;
}

// The frame of a widget: title, its queries and JSON, a table instead of the chart.
function Frame({ definition, answers, children, place, table, setTable }) {
  const [open, setOpen] = useState(false);
  const queries = (definition.requests || []).flatMap((each) => [each.q, ...(each.queries || []).map((q) => q.query), each.query?.query_string]).filter(Boolean);
  const broken = answers?.find((each) => each.error);
  return html`<section class="widget" ref=${place}>
    <header><h3 title=${definition.title}>${definition.title || definition.type}</h3><div class="tools">
      ${setTable && html`<button type="button" class="icon" aria-pressed=${table} title="Show as a table" aria-label="Show as a table" onClick=${() => setTable(!table)}>▦</button>`}
      <button type="button" class="icon" aria-expanded=${open} title="Query and JSON" aria-label="Query and JSON" onClick=${() => setOpen(!open)}>{ }</button>
    </div></header>
    ${open && html`<div class="inside">
      ${queries.map((query) => html`<pre class="query" tabindex="0">${query}</pre>`)}
      ${answers && html`<p class="dim">${answers.map((each) => `${each.curves?.length ?? each.rows?.length ?? each.logs?.length ?? each.spans?.length ?? 0} series or rows in ${each.ms ?? 0} ms`).join(" · ")}</p>`}
      <${Json} value=${definition} /></div>`}
    <div class="body">${broken ? html`<${Failure} error=${broken} />` : children}</div>
  </section>`;
}

const unitOf = (request) => request?.formulas?.[0]?.number_format?.unit;

function Timeseries({ definition, declared }) {
  const place = useRef(null), [table, setTable] = useState(false);
  const requests = (definition.requests || []).map((request) => ({ kind: "timeseries", request }));
  const answers = useQueries(requests, place, declared);
  const shown = merged(answers), unit = unitOf(definition.requests?.[0]);
  const kind = { bars: "bars", area: "area" }[definition.requests?.[0]?.display_type] || "line";
  const there = shown?.curves.some((curve) => curve.values.some((value) => value !== null));
  return html`<${Frame} definition=${definition} answers=${answers} place=${place} table=${table} setTable=${setTable}>
    ${!shown ? html`<div class="waiting"></div>` : !there ? html`<${Nothing} empty=${answers.flatMap((each) => each.empty || [])} />`
      : table ? html`<${ChartTable} times=${shown.times} curves=${shown.curves} unit=${unit} />`
        : html`<${Chart} times=${shown.times} curves=${shown.curves} kind=${kind} unit=${unit} markers=${markers(definition.markers)} label=${definition.title} />`}
    ${shown?.leftOut > 0 && html`<p class="dim">${shown.leftOut} more curves are left out</p>`}
  </${Frame}>`;
}

function merged(answers) {
  const good = answers?.filter((each) => each.times);
  if (!good?.length) return null;
  const curves = good.flatMap((each) => each.times.length === good[0].times.length ? each.curves : []);
  return { times: good[0].times, curves, leftOut: good.reduce((sum, each) => sum + each.left_out, 0) };
}

function markers(found) {
  return (found || []).map(({ value, label, display_type: style }) => ({
    value: Number(/-?[\d.]+/.exec(value || "")?.[0]), label: (label || "").trim(), level: style?.includes("error") ? "bad" : style?.includes("warning") ? "warn" : "good",
  })).filter((each) => Number.isFinite(each.value));
}

const COMPARE = { ">": (a, b) => a > b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, "<=": (a, b) => a <= b };
const PALETTE = { white_on_red: "bad", red_on_white: "bad", white_on_yellow: "warn", yellow_on_white: "warn", white_on_green: "good", green_on_white: "good" };

function QueryValue({ definition, declared }) {
  const place = useRef(null), request = definition.requests?.[0] || {};
  const background = definition.timeseries_background ? [{ kind: "timeseries", request: { ...request, response_format: "timeseries" } }] : [];
  const answers = useQueries([{ kind: "scalar", request }, ...background], place, declared);
  const value = answers?.[0].rows?.[0]?.values?.[0] ?? null;
  const state = request.conditional_formats?.find((each) => value !== null && COMPARE[each.comparator]?.(value, each.value));
  const shade = PALETTE[state?.palette] || "";
  return html`<${Frame} definition=${definition} answers=${answers?.slice(0, 1)} place=${place}>
    ${!answers ? html`<div class="waiting"></div>` : value === null ? html`<${Nothing} empty=${answers[0].empty} />`
      : html`<div class=${"big " + shade}><b>${shade === "bad" ? "✕ " : shade === "warn" ? "! " : ""}${inUnit(value, unitOf(request))}</b>
        ${answers[1]?.curves?.[0] && html`<${Spark} values=${answers[1].curves[0].values} level=${shade || "s1"} label=${definition.title} />`}</div>`}
  </${Frame}>`;
}

function Toplist({ definition, declared }) {
  const place = useRef(null), request = definition.requests?.[0] || {};
  const answers = useQueries([{ kind: "scalar", request }], place, declared);
  const rows = (answers?.[0].rows || []).filter((row) => row.values[0] !== null), most = Math.max(...rows.map((row) => row.values[0]), 0) || 1;
  return html`<${Frame} definition=${definition} answers=${answers} place=${place}>
    ${!answers ? html`<div class="waiting"></div>` : !rows.length ? html`<${Nothing} empty=${answers[0].empty} />`
      : html`<ol class="toplist">${rows.map((row) => html`<li><i style=${{ width: `${Math.max(0, row.values[0] / most) * 100}%` }}></i><span title=${groupName(row.group)}>${groupName(row.group) || "all"}</span><b>${inUnit(row.values[0], unitOf(request))}</b></li>`)}</ol>`}
  </${Frame}>`;
}

function Table({ definition, declared }) {
  const place = useRef(null), request = definition.requests?.[0] || {}, formulas = request.formulas || [];
  const answers = useQueries([{ kind: "scalar", request }], place, declared);
  const rows = answers?.[0].rows || [], keys = Object.keys(rows[0]?.group || {});
  return html`<${Frame} definition=${definition} answers=${answers} place=${place}>
    ${!answers ? html`<div class="waiting"></div>` : !rows.length ? html`<${Nothing} empty=${answers[0].empty} />`
      : html`<div class="scroll" tabindex="0"><table class="data phone"><thead><tr>${keys.map((key) => html`<th scope="col">${key}</th>`)}${formulas.map((each) => html`<th scope="col" class="n">${each.alias || each.formula}</th>`)}</tr></thead>
        <tbody>${rows.map((row) => html`<tr>${keys.map((key) => html`<td data-name=${key}>${row.group[key]}</td>`)}${row.values.map((value, i) => html`<td class="n" data-name=${formulas[i]?.alias || formulas[i]?.formula}>${inUnit(value, formulas[i]?.number_format?.unit)}</td>`)}</tr>`)}</tbody></table></div>`}
  </${Frame}>`;
}

function List({ definition, declared }) {
  const place = useRef(null);
  const answers = useQueries([{ kind: "list", request: definition.requests?.[0] || {} }], place, declared);
  const found = answers?.[0];
  return html`<${Frame} definition=${definition} answers=${answers} place=${place}>
    ${!found ? html`<div class="waiting"></div>` : !(found.logs || found.spans)?.length ? html`<${Empty} title="None in this range" />`
      : html`<div class="scroll" tabindex="0">${found.logs ? html`<${LogRows} logs=${found.logs} />` : html`<${SpanRows} spans=${found.spans} />`}</div>`}
  </${Frame}>`;
}

function LogStream({ definition, declared }) {
  const request = { response_format: "event_list", query: { data_source: "logs_stream", query_string: definition.query || "" } };
  return html`<${List} definition=${{ ...definition, requests: [request] }} declared=${declared} />`;
}

function Distribution({ definition, declared }) {
  const place = useRef(null), query = definition.requests?.[0]?.query?.query || "";
  const answers = useQueries([{ kind: "distribution", query }], place, declared);
  const bins = answers?.[0].bins || [], most = Math.max(...bins.map((bin) => bin[2]), 1);
  return html`<${Frame} definition=${definition} answers=${answers} place=${place}>
    ${!answers ? html`<div class="waiting"></div>` : !bins.length ? html`<${Nothing} />`
      : html`<div class="bins" role="img" aria-label=${`distribution from ${number(bins[0][0])} to ${number(bins.at(-1)[1])}`}>${bins.map(([low, high, count]) => html`<i title=${`${number(low)} to ${number(high)}: ${count}`} style=${{ height: `${(count / most) * 100}%` }}></i>`)}</div>
        <p class="dim ends"><span>${number(bins[0][0])}</span><span>${number(bins.at(-1)[1])}</span></p>`}
  </${Frame}>`;
}

function Note({ definition }) {
  return html`<section class="widget note"><p>${definition.content}</p></section>`;
}

function Slo({ definition }) {
  const place = useRef(null), { data, error } = useGet("slos");
  const name = /\$\{slo:([\w-]+)\}/.exec(definition.slo_id || "")?.[1] || definition.slo_id;
  const slo = data?.slos.find((each) => each.name === name);
  return html`<${Frame} definition=${definition} place=${place}>
    ${error ? html`<${Failure} error=${error} />` : !data ? html`<div class="waiting"></div>`
      : !slo ? html`<${Failure} error=${{ error: `there is no SLO ${name}`, unsupported: true }} />` : html`<${SloStatus} slo=${slo} />`}
  </${Frame}>`;
}

export function SloStatus({ slo }) {
  const now = slo.statuses[0];
  const left = now.budget === null ? null : Math.max(-100, now.budget);
  const state = left === null ? "calm" : left <= 0 ? "bad" : left < 25 ? "warn" : "good";
  return html`<div class="slo"><p>${slo.description}</p>
    <div class=${"value " + state}>${now.indicator === null ? "–" : `${Number(now.indicator.toFixed(3))} %`}</div>
    <div class="sub">target ${now.target} % · ${left === null ? "nothing to judge yet" : left <= 0 ? "error budget is spent" : `${number(left)} % of the error budget left`}</div>
    <div class="meter" role="img" aria-label=${`error budget left: ${left === null ? "unknown" : number(left) + " %"}`}><i class=${state} style=${{ width: `${Math.max(0, left ?? 0)}%` }}></i></div>
    <div class="dim">${slo.statuses.map((each) => each.timeframe).join(", ")} in Datadog; here over what is kept, at most ${seconds(now.covered)}</div></div>`;
}

export const RANK = { Alert: 0, Warn: 1, "No Data": 2, OK: 3, Skipped: 4, Ignored: 5 };
// From where on a monitor alerts: "alerts above 14.4".
export const limit = ({ comparator, thresholds: { critical } }) => (critical === undefined || critical === null ? "" : `alerts ${{ ">": "above", ">=": "from", "<": "below", "<=": "up to" }[comparator] || comparator} ${critical}`);
export const worstFirst = (a, b) => RANK[a.state] - RANK[b.state] || (a.priority || 9) - (b.priority || 9) || a.title.localeCompare(b.title);

function ManageStatus({ definition }) {
  const place = useRef(null), states = useStore((s) => s.page)?.states;
  const rows = [...(states || [])].sort(worstFirst), counts = {};
  for (const { state } of rows) counts[state] = (counts[state] || 0) + 1;
  return html`<${Frame} definition=${definition} place=${place}>
    ${!states ? html`<div class="waiting"></div>` : html`<p class="counts">${Object.keys(RANK).filter((state) => counts[state]).map((state) => html`<${State} state=${state}>${counts[state]} ${state}</${State}>`)}</p>
      <ul class="plain scroll" tabindex="0">${rows.map((row) => html`<li><${State} state=${row.state} /> <a href=${href("/monitors/" + row.name)}>${row.title}</a></li>`)}</ul>`}
  </${Frame}>`;
}

export function thresholds(found) {
  const level = (name) => (name.startsWith("critical") ? "bad" : name.startsWith("warning") ? "warn" : "good");
  return Object.entries(found || {}).filter(([, value]) => typeof value === "number")
    .map(([name, value]) => ({ value, label: `${name.replace("_", " ")} ${value}`, level: level(name) }));
}

function AlertGraph({ definition, declared }) {
  const place = useRef(null), [table, setTable] = useState(false);
  const name = /\$\{monitor:([\w-]+)\}/.exec(definition.alert_id || "")?.[1] || definition.alert_id;
  const answers = useQueries([{ kind: "monitor", name }], place, declared), found = answers?.[0];
  return html`<${Frame} definition=${definition} answers=${answers} place=${place} table=${table} setTable=${setTable}>
    ${!found ? html`<div class="waiting"></div>` : !found.curves?.length ? html`<${Empty} title="No value yet">The monitor <a href=${href("/monitors/" + name)}>${name}</a> had nothing to evaluate in this range.</${Empty}>`
      : table ? html`<${ChartTable} ...${found} />` : html`<${Chart} times=${found.times} curves=${found.curves} markers=${thresholds(found.thresholds)} label=${definition.title} />`}
  </${Frame}>`;
}

function Unsupported({ definition }) {
  return html`<section class="widget"><header><h3>${definition.title || definition.type || "widget"}</h3></header>
    <div class="body"><${Failure} error=${{ error: `A widget of type ${definition.type}: Datadog shows it, this page does not.`, unsupported: true }} /><${Json} value=${definition} /></div></section>`;
}
