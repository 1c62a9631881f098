// How many servers do we need? Little's law on measured inputs; every input can be changed and says what it is.
import { html, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change, parameters, range, useAddress } from "../state.js";
import { Empty, Failure } from "../parts.js";
import { count, number, seconds, whole } from "../format.js";

// name, label, unit, where it is measured (a figure of /api/capacity and how it becomes the input), what is assumed without
// (a number, or one of the other inputs; undefined: the resource is not judged then; null: nothing can be said)
const MB = 2 ** 20, largest = (...values) => { const known = values.filter((value) => value !== null); return known.length ? Math.max(...known) : null; };
const INPUTS = [
  ["rate", "Arrivals in the busiest minute", "tasks/s", (d) => largest(d.peak_rate.value, d.arrival_rate.value), null, (d) => ((d.peak_rate.value ?? 0) < (d.arrival_rate.value ?? 0) ? d.arrival_rate : d.peak_rate)],
  ["duration", "Mean duration, queue included", "s", (d) => d.duration.value, null, (d) => d.duration],
  ["peak", "Tasks at once, at the workers' peaks", "tasks", (d) => d.peak_concurrency.value, 0, (d) => d.peak_concurrency],
  ["cpu", "CPU per task, of all that the workers do", "s", (d) => largest(d.cpu_per_task.value, d.own_cpu_per_task.value), null, (d) => ((d.cpu_per_task.value ?? 0) < (d.own_cpu_per_task.value ?? 0) ? d.own_cpu_per_task : d.cpu_per_task)],
  ["memory", "Memory per active task", "MB", (d) => (d.memory_per_task.value === null ? null : d.memory_per_task.value / MB), undefined, (d) => d.memory_per_task],
  ["clients", "SSE clients at once, at the workers' peaks", "clients", (d) => d.clients.value, 0, (d) => d.clients],
  ["growth", "Growth", "×", null, 1],
  ["cores", "Cores per server", "cores", null, 2],
  ["workers", "Workers per server", "workers", null, "cores"],
  ["ram", "Memory per server", "GB", null, 4],
  ["base", "Memory of a worker without tasks", "MB", (d) => (d.worker_memory.value === null ? null : d.worker_memory.value / MB), undefined, (d) => d.worker_memory],
  ["utilisation", "Target utilisation", "%", null, 70],
  ["slots", "Tasks that a worker may run at once", "tasks", null, undefined],
  ["files", "Open files per worker", "files", null, undefined],
  ["spare", "Spare servers", "servers", null, 1],
];

// The arithmetic of `streaming-dd capacity` (docs/capacity.md): a test holds the two together. null: not judged.
export function servers(v) {
  const rate = v.rate * v.growth, active = Math.max(rate * v.duration, v.peak * v.growth), use = v.utilisation / 100;
  const room = v.base === undefined ? null : v.ram * 1024 * use - v.workers * v.base;
  const needs = {
    CPU: (rate * v.cpu) / (Math.min(v.cores, v.workers) * use),
    memory: room === null || v.memory === undefined ? null : (active * v.memory) / room,
    "task slots": v.slots === undefined ? null : active / (v.slots * v.workers * use),
    "open files": v.files === undefined ? null : (v.clients * v.growth) / (v.files * v.workers * use),
  };
  const binding = Object.entries(needs).sort((a, b) => b[1] - a[1])[0];
  const refused = room !== null && room <= 0 ? `${count(v.workers, "worker")} ${v.workers === 1 ? "takes" : "take"} ${whole(v.workers * v.base)} MB before the first task; ${whole(v.utilisation)} % of ${number(v.ram)} GB is less` : "";
  return { needs, binding: binding[0], active, rate, refused, total: Math.max(1, Math.ceil(binding[1] - 1e-9)) + v.spare };
}

export function Capacity() {
  useAddress();
  const { data, error } = useGet("capacity", range());
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Measuring …</p>`;
  const query = parameters(), values = {}, rows = INPUTS.map(([name, label, unit, from, otherwise, figure]) => {
    const assumed = typeof otherwise === "string" ? values[otherwise] : otherwise;
    const measured = from ? from(data) : null, typed = query.get("c." + name);
    const own = typed !== null && typed !== "" && Number.isFinite(+typed) && +typed >= 0;
    const value = values[name] = own ? +typed : measured ?? assumed;
    return { name, label, unit, value, origin: own ? "yours" : measured !== null ? "measured" : assumed === null ? "missing" : assumed === undefined ? "not judged" : "assumed", figure: figure?.(data), measured };
  });
  const missing = rows.filter((row) => row.value === null);
  const result = missing.length ? null : servers(values);
  return html`<div class="capacity"><section class="card answer"><header><h2>How many servers do we need?</h2></header>
    ${result?.refused ? html`<${Empty} title="This server is too small">${result.refused}. Plan with fewer workers or more memory.</${Empty}>` : result ? html`<p class="servers"><b>${result.total}</b> server${result.total === 1 ? "" : "s"}</p><p>${sentence(result, values)}</p><${Needs} result=${result} /><${Growth} values=${values} />`
    : html`<${Empty} title="Not enough is measured yet">Missing: ${missing.map((row) => row.label.toLowerCase()).join(", ")}. They come with the first tasks that end; or type them in on the right.</${Empty}>`}
    <${Check} data=${data} />
    <p class="dim">Measured on this machine, not on a production host. Queueing is not modelled: it is held off by the target utilisation. ${data.seconds ? `Window: ${seconds(data.seconds)}, ${whole(data.tasks)} tasks.` : ""}</p>
    ${!data.enough_tasks && data.tasks > 0 && html`<p class="notice">Only ${count(data.tasks, "task")} in this window: below 100 the means are shaky. Choose a longer range.</p>`}
    ${data.duration_p95.value > data.seconds / 4 && html`<p class="notice">The p95 of the duration, ${seconds(data.duration_p95.value)}, is long beside the window: tasks that still run are not in the mean.</p>`}
    ${idle(data) && html`<p class="notice">${idle(data)}</p>`}</section>
    <section class="card"><header><h2>Inputs</h2><div class="tools"><button type="button" class="small" onClick=${() => change(Object.fromEntries(INPUTS.map(([name]) => ["c." + name, null])))}>as measured</button></div></header>
    <div class="inputs">${rows.map((row) => html`<${Input} key=${row.name} row=${row} />`)}</div></section></div>`;
}

// What workers do without any task counts as their tasks': as `streaming-dd capacity`, doubt a load that is lost beside it.
function idle(data) {
  const own = data.own_cpu_per_task.value, every = data.cpu_per_task.value, workers = Math.max(1, data.worker_memory.samples || 0);
  const used = (data.tasks * every) / data.seconds / workers;
  if (own === null || !(used < 0.1) || own >= every / 2) return "";
  return `A worker used ${number(used * 100, 2)} % of a core, and ${whole((own / every) * 100)} % of that was the steps of tasks: what it does without any task counts as theirs${own ? `, up to ${number(every / own, 2)} times too much` : ""}. Measure under more load.`;
}

function Input({ row }) {
  const shown = (row.value ?? null) === null ? "" : Number(row.value.toPrecision(4)), why = row.figure ? `${row.figure.note}; n = ${whole(row.figure.samples)}` : "a choice, not a measurement";
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
  return html`<ol class="toplist">${Object.entries(result.needs).map(([name, value]) => html`<li><i class=${name === result.binding ? "bind" : ""} style=${{ width: `${(value / most) * 100}%` }}></i><span>${name}${name === result.binding ? " (binds)" : ""}</span><b>${value === null ? "not judged" : `${number(value)} servers`}</b></li>`)}</ol>`;
}

function Growth({ values }) {
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((times) => [times, servers({ ...values, growth: values.growth * times }).total]), most = Math.max(...steps.map(([, n]) => n));
  return html`<h3>Servers at ×1 to ×10 of this traffic</h3><div class="columns" role="img" aria-label=${steps.map(([t, n]) => `×${t}: ${n}`).join(", ")}>${steps.map(([times, n]) => html`<div><b>${n}</b><i style=${{ height: `${(n / most) * 70}px` }}></i><span>×${times}</span></div>`)}</div>`;
}

function Check({ data }) {
  const { arrival_rate: rate, duration, concurrency, peak_concurrency: peak } = data;
  if (rate.value === null || duration.value === null) return null;
  const law = rate.value * duration.value, seen = concurrency.value, off = seen ? Math.abs(law - seen) / seen : 0;
  return html`<h3>Little's law: L = λ · W</h3><p class="law"><span><b>${number(rate.value)}</b> tasks/s</span> × <span><b>${seconds(duration.value)}</b></span> = <span><b>${number(law)}</b> at once</span> <span class="dim">· measured ${seen === null ? "–" : number(seen)} on average, ${peak.value === null ? "–" : number(peak.value)} at the workers' peaks</span></p>
    ${off > 0.2 && seen > 0.5 && html`<p class="notice">They differ by ${whole(off * 100)} %: the window is not steady, or long tasks still run and are not in W yet.</p>`}`;
}
