// The tasks that run and have run: who, how long compared with others of the model, how it ended.
import { html, useEffect, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change, chosenTags, href, parameters, useAddress, useStore } from "../state.js";
import { Card, Empty, Failure, State, walk } from "../parts.js";
import { clock, quoted, seconds, whole } from "../format.js";

const QUIET = 30;
const FILTERS = {
  all: () => true, running: (task) => task.state === "running", "no sign of life > 30 s": (task, now) => task.state === "running" && now - task.last_seen > QUIET,
  failed: (task) => task.state === "failed", cancelled: (task) => task.state === "cancelled", completed: (task) => task.state === "completed", lost: (task) => task.state === "lost",
};

export function Tasks() {
  useAddress();
  const { data, error } = useGet("tasks", { limit: 1000 }), paused = useStore((s) => s.paused), [, beat] = useState(0);
  useEffect(() => { if (paused) return undefined; const timer = setInterval(() => beat((n) => n + 1), 1000); return () => clearInterval(timer); }, [paused]);
  const [skew, setSkew] = useState(0);
  useEffect(() => { if (data) setSkew(data.now - Date.now() / 1000); }, [data]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Gathering the tasks …</p>`;
  const query = parameters(), now = paused ? data.now : Date.now() / 1000 + skew, filter = query.get("state") || "all";
  const text = (query.get("query") || "").toLowerCase(), chosen = chosenTags().filter(([key]) => ["service", "app", "model"].includes(key));
  const from = +query.get("start") || 0, to = +query.get("end") || Infinity;
  const mine = data.tasks.filter((task) => chosen.every(([key, value]) => String(task[key]).toLowerCase() === value)
    && task.started < to && (task.ended || now) > from
    && (!text || `${task.app} ${task.model} ${task.id} ${task.error} ${task.value}`.toLowerCase().includes(text)));
  const shown = mine.filter((task) => (FILTERS[filter] || FILTERS.all)(task, now)), usual = p95s(data.tasks);
  return html`<div class="bar"><input type="search" aria-label="Filter tasks" placeholder="filter by model, id, error …  ( / )" value=${query.get("query") || ""} onInput=${(event) => change({ query: event.target.value }, true)} />
    <div class="segmented wrap" role="group" aria-label="State">${Object.entries(FILTERS).map(([name, test]) => html`<button type="button" aria-pressed=${filter === name} onClick=${() => change({ state: name === "all" ? null : name })}>${name} <b>${mine.filter((task) => test(task, now)).length}</b></button>`)}</div></div>
  ${!data.tasks.length ? html`<${Empty} title="No task has been seen">A task is known from the log line that says it started and from its <code>task.run</code> span. Wrap a coroutine function with <code>@timers.task("reports.export")</code>, or a coordinator with <code>dd.instrument(app, coordinator=coordinator)</code>.</${Empty}>`
    : !shown.length ? html`<${Empty} title="No task like that"><a href=${href("/tasks")}>Show all</a></${Empty}>`
      : html`<${Card} title=${`${shown.length} tasks`}><div class="scroll"><table class="data tasks"><thead><tr><th scope="col">state</th><th scope="col">model</th><th scope="col">task</th><th scope="col">started</th><th scope="col">age or duration <span class="dim">| p95 of its model</span></th><th scope="col" class="n">events</th><th scope="col">last sign of life</th><th scope="col">result</th><th scope="col"></th></tr></thead>
      <tbody onKeyDown=${walk}>${shown.slice(0, 200).map((task) => html`<${Row} key=${[task.service, task.app, task.model, task.id, task.started].join()} task=${task} now=${now} usual=${usual.get(task.model)} />`)}</tbody></table></div>
      ${shown.length > 200 && html`<p class="dim">${shown.length - 200} more: filter to see them.</p>`}</${Card}>`}
  <p class="dim">Kept: what runs (at most 2 000) and the last 1 000 that ended. ${data.dropped ? `${data.dropped} running tasks were forgotten. ` : ""}CPU per task is in <a href=${href("/dashboards/tasks")}>the tasks dashboard</a>.</p>`;
}

function p95s(tasks) {
  const durations = new Map(), found = new Map();
  for (const task of tasks) if (task.duration !== null && task.state !== "lost") durations.set(task.model, [...(durations.get(task.model) || []), task.duration]);
  for (const [model, values] of durations) found.set(model, values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * 0.95))]);
  return found;
}

function Row({ task, now, usual }) {
  const running = task.state === "running", age = running ? Math.max(0, now - task.started) : task.duration;
  const scale = Math.max(usual || 0, age || 0, 0.001) * 1.15, slow = usual !== undefined && age > usual * 1.01, quiet = running && now - task.last_seen > QUIET;
  return html`<tr><td><${State} state=${task.state} /></td><td>${task.app && html`<span class="dim">${task.app} · </span>`}<b>${task.model}</b></td>
    <td class="mono id">${task.trace_id ? html`<a data-row href=${href("/traces/" + task.trace_id, task.span_id ? { span: task.span_id } : {})}>${task.id || "–"}</a>` : task.id || "–"}${task.segment > 1 && html` <span class="dim">segment ${task.segment}</span>`}</td>
    <td class="nowrap">${clock(task.started)}</td>
    <td><div class="agecell"><div class="age" role="img" aria-label=${`${seconds(age)}${usual ? `, p95 of the model is ${seconds(usual)}` : ""}`}><i class=${running ? (slow ? "warn" : "info") : task.state === "failed" ? "bad" : "calm"} style=${{ width: `${((age || 0) / scale) * 100}%` }}></i>${usual !== undefined && html`<em style=${{ left: `${(usual / scale) * 100}%` }}></em>`}</div><span class="nowrap">${seconds(age)}${slow && running ? " ! slow" : ""}</span></div></td>
    <td class="n">${whole(task.events)}</td><td class="nowrap">${running ? html`<span class=${quiet ? "warn" : ""}>${quiet ? "! " : ""}${seconds(Math.max(0, Math.round(now - task.last_seen)))}</span>` : html`<span class="dim">${task.ended ? clock(task.ended) : ""}</span>`}</td>
    <td class="clip" title=${task.error || task.value}>${task.error ? html`<span class="bad">${task.error}</span>` : task.value}</td>
    <td class="nowrap">${task.trace_id && html`<a href=${href("/logs", { query: `@task.id:${quoted(task.id)}` })}>logs</a>`}</td></tr>`;
}
