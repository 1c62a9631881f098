// How many servers do we need? Little's law on measured inputs; every input can be changed and says what it is.
import { html, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change, parameters, range, useAddress } from "../state.js";
import { Empty, Failure } from "../parts.js";
import { number, seconds, whole } from "../format.js";

// name, label, unit, where it is measured (a figure of /api/capacity and how it becomes the input), what is assumed without
const INPUTS = [
  ["rate", "Arrivals in the busiest minute", "tasks/s", (d) => d.peak_rate.value ?? d.arrival_rate.value, null, (d) => (d.peak_rate.value === null ? d.arrival_rate : d.peak_rate)],
  ["duration", "Mean duration", "s", (d) => d.duration.value, null, (d) => d.duration],
  ["cpu", "CPU time per task", "s", (d) => d.cpu_per_task.value, null, (d) => d.cpu_per_task],
  ["memory", "Memory per active task", "MB", (d) => (d.memory_per_task.value === null ? null : d.memory_per_task.value / 2 ** 20), 5, (d) => d.memory_per_task],
  ["clients", "SSE clients at once", "clients", (d) => d.clients.value, 0, (d) => d.clients],
  ["growth", "Growth", "×", null, 1],
  ["cores", "Cores per server", "cores", null, 2],
  ["ram", "Memory per server", "GB", null, 4],
  ["base", "of which the idle application takes", "MB", null, 300],
  ["utilisation", "Target utilisation", "%", null, 70],
  ["slots", "Tasks that a server may run at once", "tasks", null, 500],
  ["files", "Open files per server", "files", null, 10000],
  ["spare", "Spare servers", "servers", null, 1],
];

export function servers(v) {
  const rate = v.rate * v.growth, active = rate * v.duration, use = v.utilisation / 100;
  const needs = {
    CPU: (rate * v.cpu) / (v.cores * use), memory: (active * v.memory) / Math.max(1, v.ram * 1024 * use - v.base),
    "task slots": active / v.slots, "open files": (v.clients * v.growth) / v.files,
  };
  const binding = Object.entries(needs).sort((a, b) => b[1] - a[1])[0];
  return { needs, binding: binding[0], active, rate, total: Math.max(1, ...Object.values(needs).map(Math.ceil)) + v.spare, headroom: needs };
}

export function Capacity() {
  useAddress();
  const { data, error } = useGet("capacity", range());
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Measuring …</p>`;
  const query = parameters(), rows = INPUTS.map(([name, label, unit, from, assumed, figure]) => {
    const measured = from ? from(data) : null, typed = query.get("c." + name);
    const own = typed !== null && typed !== "" && Number.isFinite(+typed) && +typed >= 0;
    return { name, label, unit, value: own ? +typed : measured ?? assumed, origin: own ? "yours" : measured !== null ? "measured" : assumed === null ? "missing" : "assumed", figure: figure?.(data), measured };
  });
  const values = Object.fromEntries(rows.map((row) => [row.name, row.value])), missing = rows.filter((row) => row.value === null);
  const result = missing.length ? null : servers(values);
  return html`<div class="capacity"><section class="card answer"><header><h2>How many servers do we need?</h2></header>
    ${result ? html`<p class="servers"><b>${result.total}</b> server${result.total === 1 ? "" : "s"}</p><p>${sentence(result, values)}</p><${Needs} result=${result} /><${Growth} values=${values} />`
    : html`<${Empty} title="Not enough is measured yet">Missing: ${missing.map((row) => row.label.toLowerCase()).join(", ")}. They come with the first tasks that end; or type them in on the right.</${Empty}>`}
    <${Check} data=${data} />
    <p class="dim">Measured on this machine, not on a production host. Queueing is not modelled: it is held off by the target utilisation. ${data.seconds ? `Window: ${seconds(data.seconds)}, ${whole(data.tasks)} tasks.` : ""}</p>
    ${!data.enough_tasks && data.tasks > 0 && html`<p class="notice">Only ${whole(data.tasks)} tasks in this window: below 100 the means are shaky. Choose a longer range.</p>`}
    ${data.duration_p95.value > data.seconds / 4 && html`<p class="notice">The p95 of the duration, ${seconds(data.duration_p95.value)}, is long beside the window: tasks that still run are not in the mean.</p>`}</section>
    <section class="card"><header><h2>Inputs</h2><div class="tools"><button type="button" class="small" onClick=${() => change(Object.fromEntries(INPUTS.map(([name]) => ["c." + name, null])))}>as measured</button></div></header>
    <div class="inputs">${rows.map((row) => html`<${Input} key=${row.name} row=${row} />`)}</div></section></div>`;
}

function Input({ row }) {
  const shown = row.value === null ? "" : Number(row.value.toPrecision(4)), why = row.figure ? `${row.figure.note}; n = ${whole(row.figure.samples)}` : "a choice, not a measurement";
  const [text, setText] = useState(null);
  return html`<label class="input"><span>${row.label}</span><input type="number" min="0" step="any" value=${text ?? shown} onInput=${(event) => setText(event.target.value)} onChange=${(event) => { setText(null); change({ ["c." + row.name]: event.target.value }, true); }} /><em>${row.unit}</em>
    <span class=${"origin " + row.origin}>${row.origin}</span><small>${why}${row.origin === "yours" && row.measured !== null ? ` (measured ${number(row.measured)})` : ""}</small></label>`;
}

function sentence({ needs, binding, total }, values) {
  const others = Object.entries(needs).filter(([name]) => name !== binding && needs[name] > 0).map(([name, value]) => `${name} would allow ${number(needs[binding] / value, 2)}× more`);
  return `Bound by ${binding}${others.length ? `; ${others.join(", ")}` : ""}. ${total - values.spare} for the load and ${values.spare} spare.`;
}

function Needs({ result }) {
  const most = Math.max(...Object.values(result.needs), 0.001);
  return html`<ol class="toplist">${Object.entries(result.needs).map(([name, value]) => html`<li><i class=${name === result.binding ? "bind" : ""} style=${{ width: `${(value / most) * 100}%` }}></i><span>${name}${name === result.binding ? " (binds)" : ""}</span><b>${number(value)} servers</b></li>`)}</ol>`;
}

function Growth({ values }) {
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((times) => [times, servers({ ...values, growth: values.growth * times }).total]), most = Math.max(...steps.map(([, n]) => n));
  return html`<h3>Servers at ×1 to ×10 of this traffic</h3><div class="columns" role="img" aria-label=${steps.map(([t, n]) => `×${t}: ${n}`).join(", ")}>${steps.map(([times, n]) => html`<div><b>${n}</b><i style=${{ height: `${(n / most) * 70}px` }}></i><span>×${times}</span></div>`)}</div>`;
}

function Check({ data }) {
  const { arrival_rate: rate, duration, concurrency, peak_concurrency: peak } = data;
  if (rate.value === null || duration.value === null) return null;
  const law = rate.value * duration.value, seen = concurrency.value, off = seen ? Math.abs(law - seen) / seen : 0;
  return html`<h3>Little's law: L = λ · W</h3><p class="law"><span><b>${number(rate.value)}</b> tasks/s</span> × <span><b>${seconds(duration.value)}</b></span> = <span><b>${number(law)}</b> at once</span> <span class="dim">· measured ${seen === null ? "–" : number(seen)} on average, ${peak.value === null ? "–" : number(peak.value)} at the peak</span></p>
    ${off > 0.2 && seen > 0.5 && html`<p class="notice">They differ by ${whole(off * 100)} %: the window is not steady, or long tasks still run and are not in W yet.</p>`}`;
}
