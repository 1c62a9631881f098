// Monitors: the state of each over time; and why one is in its state, what its query means, what it would have said.
import { html, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { href, notifies, range, setNotifies, useAddress } from "../state.js";
import { Chart, ChartTable } from "../chart.js";
import { Card, Empty, Failure, Json, Ribbon, State, Tags, level, walk } from "../parts.js";
import { ago, clock, day, groupName, number, seconds } from "../format.js";
import { RANK, SloStatus, limit, thresholds, worstFirst } from "../widgets.js";

export function Monitors() {
  const { path } = useAddress();
  return path[1] ? html`<${Detail} key=${path[1]} name=${path[1]} />` : html`<${List} />`;
}

function List() {
  const { data, error } = useGet("monitors", range()), slos = useGet("slos");
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Asking for the monitors …</p>`;
  const rows = [...data.monitors].sort(worstFirst), never = rows.every((row) => !row.evaluated);
  return html`${data.problems.map((problem) => html`<p class="notice">${problem}</p>`)}
    ${never && rows.length > 0 && html`<p class="notice">Waiting for the first evaluation: it comes with the next bucket of ten seconds.</p>`}
    <${Card} title="Monitors" tools=${html`<span class="dim">evaluated every 10 s here, every minute in Datadog</span><${Notify} />`}>
    ${!rows.length ? html`<${Empty} title="No monitors">Put Datadog's monitor JSON into <code>dd-agent/monitors/</code>.</${Empty}>` : html`<div class="scroll" tabindex="0"><table class="data phone monitors"><thead><tr><th scope="col">state</th><th scope="col">monitor</th><th scope="col">worst group</th><th scope="col">${clock(data.start).slice(0, 5)} to ${clock(data.end).slice(0, 5)}</th><th scope="col">since</th></tr></thead>
      <tbody onKeyDown=${walk}>${rows.map((row) => {
    const worst = [...row.groups].sort((a, b) => (b.state === row.state) - (a.state === row.state) || (b.value ?? 0) - (a.value ?? 0))[0];
    return html`<tr key=${row.name}><td class="nowrap"><${State} state=${row.state} /></td><td class="grow"><a data-row href=${href("/monitors/" + row.name)}>${row.title}</a>${row.problem && html`<div class="bad">${row.problem.split("\n")[0]}</div>`}<div class="dim">P${row.priority ?? "–"} · ${row.type} · ${row.groups.length} group${row.groups.length === 1 ? "" : "s"}</div></td>
        <td class="nowrap" data-name="worst group">${worst ? html`<b>${worst.value === null ? worst.state : `${number(worst.value)}${row.unit ? ` ${row.unit}` : ""}`}</b> <span class="dim">${worst.value === null ? "" : ` ${limit(row)}`}</span>${worst.measured && worst.value > 0 && html`<div class="dim" title="without the events that the query adds against alerts on a few">in fact ${worst.measured}</div>`}<div class="dim clip" title=${worst.label}>${worst.label === "*" ? "" : worst.label}</div>` : "–"}</td>
        <td class="ribboncell"><${Ribbon} segments=${row.ribbon} start=${data.start} end=${data.end} label=${row.title} /></td><td class="nowrap" data-name="since">${row.since ? ago(row.since, data.now) : "–"}</td></tr>`;
  })}</tbody></table></div>`}</${Card}>
    <div class="two"><${Card} title="What changed">${data.transitions.length ? html`<ul class="plain">${data.transitions.slice(0, 15).map((each) => html`<li><time>${clock(each.time)}</time> <a href=${href("/monitors/" + each.monitor)}>${each.monitor}</a> <${State} state=${each.before} /> → <${State} state=${each.after} /> <span class="dim">${each.rule}</span></li>`)}</ul>` : html`<${Empty} title="No change yet" />`}</${Card}>
    <div class="stack">${(slos.data?.slos || []).map((slo) => html`<${Card} title=${`SLO: ${slo.title}`}><${SloStatus} slo=${slo} /></${Card}>`)}</div></div>`;
}

function Notify() {
  const [on, setOn] = useState(notifies());
  if (!window.Notification) return null;
  return html`<button type="button" class="small" aria-pressed=${on} onClick=${() => setNotifies(!on).then(setOn)}>${on ? "notifies in this browser" : "notify me in this browser"}</button>`;
}

function Detail({ name }) {
  const { data, error } = useGet("monitors/" + encodeURIComponent(name), range());
  if (error) return html`<p><a href=${href("/monitors")}>← monitors</a></p><${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Evaluating …</p>`;
  return html`<p><a href=${href("/monitors")}>← monitors</a></p>
    <section class="card"><header><h2><${State} state=${data.state} /> ${data.title}</h2><div class="tools dim">priority ${data.priority ?? "–"} · ${data.since ? `since ${day(data.since)}` : ""}</div></header>
      ${data.problem && html`<${Failure} error=${{ error: data.problem }} />`}
      <pre class="query" tabindex="0">${data.query}</pre><ul class="words">${data.words.map((sentence) => html`<li>${sentence}</li>`)}</ul><${Tags} tags=${data.tags} /></section>
    <${Curve} data=${data} />
    <${Groups} data=${data} />
    <div class="two"><${Card} title="What it would have said">${data.notifications.length ? data.notifications.map((said) => html`<${Said} said=${said} />`) : html`<p class="dim">It has said nothing yet. In Alert it would say:</p><${Said} said=${{ ...data.preview, state: "Alert" }} />`}</${Card}>
    <${Card} title="JSON"><p class="dim"><code>dd-agent/monitors/${data.name}.json</code>, the very file that Datadog gets</p><${Json} value=${data.document} /></${Card}></div>`;
}

const FIRES = { ">": (a, b) => a > b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, "<=": (a, b) => a <= b };

function Curve({ data }) {
  const critical = data.thresholds.critical, [trial, setTrial] = useState(null), [table, setTable] = useState(false), { curve } = data;
  if (!curve.curves.length) return html`<section class="card"><h2>Evaluated value</h2><${Empty} title="Nothing to evaluate in this range">${data.type === "service check" || data.type === "composite" ? "This kind of monitor has states, not values: see the ribbon and the evaluations." : "The metrics of its query have no points here."}</${Empty}><${Ribbon} segments=${data.ribbon} start=${data.start} end=${data.end} label=${data.title} /></section>`;
  const limit = trial ?? critical, compare = FIRES[curve.comparator], values = curve.curves.flatMap((each) => each.values.filter((value) => value !== null));
  const spans = compare ? curve.times.filter((_, i) => curve.curves.some((each) => each.values[i] !== null && compare(each.values[i], limit))).map((time) => [time, time + curve.step, "bad"]) : [];
  const top = Math.max(...values, critical || 0) * 1.5 || 1, lines = thresholds(data.thresholds).filter((each) => trial === null || !each.label.startsWith("critical "));
  const markers = trial === null ? lines : [...lines, { value: trial, label: `tried ${number(trial)}`, level: "bad" }];
  return html`<section class="card"><header><h2>Evaluated value</h2><div class="tools"><button type="button" class="icon" aria-pressed=${table} aria-label="Show as a table" onClick=${() => setTable(!table)}>▦</button></div></header>
    ${table ? html`<${ChartTable} ...${curve} />` : html`<${Chart} times=${curve.times} curves=${curve.curves} markers=${markers} spans=${spans} height=${230} label=${data.title} />`}
    <${Ribbon} segments=${data.ribbon} start=${data.start} end=${data.end} label=${data.title} />
    ${compare && critical !== undefined && html`<label class="trial"><span>Try another threshold</span><input type="range" min="0" max=${top} step=${top / 200} value=${limit} onInput=${(event) => setTrial(+event.target.value)} /><b>${curve.comparator} ${number(limit)}</b>
      <span class="dim">would fire at ${spans.length} of ${curve.times.length} evaluations in this range</span>${trial !== null && html`<button type="button" class="small" onClick=${() => setTrial(null)}>back to ${critical}</button>`}</label>`}</section>`;
}

function Groups({ data }) {
  const order = [...data.groups].sort((a, b) => RANK[a.state] - RANK[b.state] || (b.value ?? 0) - (a.value ?? 0));
  const [open, setOpen] = useState(null), group = order.find((each) => each.label === open) || order[0];
  return html`<${Card} title=${`Why: ${data.groups.length} group${data.groups.length === 1 ? "" : "s"} and the last evaluations`}>
    ${!data.groups.length ? html`<${Empty} title="No group yet">A group appears with its first value${data.window ? ` in a window of ${seconds(data.window)}` : ""}.</${Empty}>` : html`<div class="why"><ul class="plain groups">${order.map((each) => html`<li><button type="button" class="facet" aria-pressed=${each === group} title=${each.label} onClick=${() => setOpen(each.label)}><span><${State} state=${each.state} /> ${each.label === "*" ? "everything" : groupName(each.group)}</span><b>${each.value === null ? "" : number(each.value)}</b></button>${each.measured && each.value > 0 && html`<div class="dim measured">in fact ${each.measured}</div>`}</li>`)}</ul>
    <div class="scroll short" tabindex="0"><table class="data phone"><thead><tr><th scope="col">evaluated</th><th scope="col" class="n">value</th><th scope="col">state</th><th scope="col">rule that applied</th></tr></thead><tbody>${(group?.readings || []).map((reading) => html`<tr><td class="nowrap">${clock(reading.time)}</td><td class="n" data-name="value">${number(reading.value)}</td><td><${State} state=${reading.state} /></td><td class="grow">${reading.rule}</td></tr>`)}</tbody></table></div></div>`}</${Card}>`;
}

// Bold is all of Markdown that our messages use in headings; the rest stays as it was written.
function Said({ said }) {
  return html`<article class=${"said " + level(said.state)}><h3>${said.title}</h3>${said.time && html`<time class="dim">${day(said.time)}</time>`}
    <div class="message">${said.text.split(/(\*\*[^*]+\*\*)/).map((part) => part.startsWith("**") ? html`<b>${part.slice(2, -2)}</b>` : part)}</div>
    ${said.measured && html`<p class="dim measured">Without the events that the query adds: ${said.measured}. Datadog's message cannot say this.</p>`}
    <p class="dim">${said.handles.length ? `would notify ${said.handles.join(", ")}: nothing is sent locally` : "names nobody: in Datadog, add an @handle to its message"}</p></article>`;
}
