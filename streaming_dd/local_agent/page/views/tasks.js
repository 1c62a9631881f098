// The tasks that run and have run: who, how long compared with others of the model, how it ended.
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change, chosenTags, href, parameters, useAddress, useStore } from "../state.js";
import { Card, Empty, Failure, State, walk } from "../parts.js";
import { clock, count, quoted, seconds, whole } from "../format.js";

const QUIET = 75; // workers say every 30 s which long tasks run: this is two and a half of those lines
const FILTERS = {
  all: () => true, running: (task) => task.state === "running", "not heard of > 75 s": (task, now) => task.state === "running" && now - task.last_seen > QUIET,
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
  const shown = mine.filter((task) => (FILTERS[filter] || FILTERS.all)(task, now)), usual = usuals(data.tasks);
  return html`<div class="bar"><input type="search" aria-label="Filter tasks" placeholder="filter by model, id, error …  ( / )" value=${query.get("query") || ""} onInput=${(event) => change({ query: event.target.value }, true)} />
    <div class="segmented wrap" role="group" aria-label="State">${Object.entries(FILTERS).map(([name, test]) => html`<button type="button" aria-pressed=${filter === name} onClick=${() => change({ state: name === "all" ? null : name })}>${name} <b>${mine.filter((task) => test(task, now)).length}</b></button>`)}</div></div>
  ${!data.tasks.length ? html`<${Empty} title="No task has been seen">A task is known from the log line that says it started and from its <code>task.run</code> span. Wrap a coroutine function with <code>@timers.task("reports.export")</code>, or a coordinator with <code>dd.instrument(app, coordinator=coordinator)</code>.</${Empty}>`
    : !shown.length ? html`<${Empty} title="No task like that"><a href=${href("/tasks")}>Show all</a></${Empty}>`
      : html`<${Card} title=${count(shown.length, "task")}><div class="scroll" tabindex="0"><table class="data phone tasks"><thead><tr><th scope="col">state</th><th scope="col">model</th><th scope="col">task</th><th scope="col">started</th><th scope="col">age or duration <span class="dim">| p95 of its model</span></th><th scope="col" class="n">events</th><th scope="col">last heard of <span class="dim">| last event</span></th><th scope="col">result</th><th scope="col"></th></tr></thead>
      <tbody onKeyDown=${walk}>${shown.slice(0, 200).map((task) => html`<${Row} key=${[task.service, task.app, task.model, task.key, task.started].join()} task=${task} now=${now} usual=${usual.get(task.model)} sends=${sending(data.tasks).has(task.model)} page=${data.pages?.[task.service]} />`)}</tbody></table></div>
      ${shown.length > 200 && html`<p class="dim">${shown.length - 200} more: filter to see them.</p>`}</${Card}>`}
  <p class="dim">Kept: what runs (at most 2 000) and the last 1 000 that ended. ${data.dropped ? `${data.dropped} running tasks were forgotten. ` : ""}CPU per task is in <a href=${href("/dashboards/tasks")}>the tasks dashboard</a>.</p>`;
}

// The p95 of each model, worked out anew with each answer, not with each second.
let known = { tasks: null, found: null };
function usuals(tasks) {
  if (known.tasks !== tasks) known = { tasks, found: p95s(tasks) };
  return known.found;
}

// The models of which some task has sent an event: that another has sent none says something.
let senders = { tasks: null, found: null };
function sending(tasks) {
  if (senders.tasks !== tasks) senders = { tasks, found: new Set(tasks.filter((task) => task.events).map((task) => task.model)) };
  return senders.found;
}

function p95s(tasks) {
  const durations = new Map(), found = new Map();
  for (const task of tasks) {
    if (task.duration === null || task.state === "lost") continue;
    if (!durations.has(task.model)) durations.set(task.model, []);
    durations.get(task.model).push(task.duration);
  }
  for (const [model, values] of durations) found.set(model, values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * 0.95))]);
  return found;
}

// Only what runs grows older, from two minutes on in steps of five seconds: any other row is the same object until something of
// it changes.
function Row({ task, now, usual, sends, page }) {
  const running = task.state === "running", age = running ? Math.floor(now / (now - task.started < 120 ? 1 : 5)) : 0;
  return useMemo(() => drawn(task, now, usual, sends, page), [age, sends, page, task.state, task.ended, task.events, task.error, task.value, task.trace_id, running && task.last_seen, task.waits_at, usual, location.search]);
}

function drawn(task, now, usual, sends, page) {
  const running = task.state === "running", age = running ? Math.max(0, now - task.started) : task.duration;
  const scale = Math.max(usual || 0, age || 0, 0.001) * 1.15, slow = usual !== undefined && age > usual * 1.01, quiet = running && now - task.last_seen > QUIET;
  return html`<tr><td><${State} state=${task.state} /></td><td>${task.app && html`<span class="dim">${task.app} · </span>`}<b>${task.model}</b></td>
    <td class="mono id" data-name="task">${task.trace_id ? html`<a data-row href=${href("/traces/" + task.trace_id, task.span_id ? { span: task.span_id } : {})}>${task.id || "–"}</a>` : task.id || "–"}${task.segment > 1 && html` <span class="dim">segment ${task.segment}</span>`}</td>
    <td class="nowrap" data-name="started">${clock(task.started)}</td>
    <td data-name=${running ? "age" : "duration"}><div class="agecell"><div class="age" role="img" aria-label=${`${seconds(age)}${usual ? `, p95 of the model is ${seconds(usual)}` : ""}`}><i class=${running ? (slow ? "warn" : "info") : task.state === "failed" ? "bad" : "calm"} style=${{ width: `${((age || 0) / scale) * 100}%` }}></i>${usual !== undefined && html`<em style=${{ left: `${(usual / scale) * 100}%` }}></em>`}</div><span class="nowrap">${seconds(age)}${slow && running ? " ! slow" : ""}</span></div></td>
    <td class="n" data-name="events">${sends ? whole(task.events) : ""}</td><td class="nowrap" data-name=${running ? "last heard of" : "ended"}>${running ? html`<span class=${quiet ? "warn" : ""}>${quiet ? "! " : ""}${seconds(Math.max(0, Math.round(now - task.last_seen)))}</span>${task.last_event !== null ? html` <span class="dim">| ${seconds(Math.max(0, Math.round(now - task.last_event)))}</span>` : ""}` : html`<span class="dim">${task.ended ? clock(task.ended) : ""}</span>`}</td>
    <td class="clip" data-name="result" title=${running ? task.waits_at : task.error || task.value}>${running && task.waits_at ? html`<span class="dim">waits at ${task.waits_at}</span>` : task.error ? html`<span class="bad">${task.error}</span>` : task.value}</td>
    <td class="nowrap">${task.trace_id && html`<a href=${href("/logs", { query: task.id ? `@task.id:${quoted(task.id)}` : `@dd.trace_id:${task.trace_id}` })}>logs</a>`}${running && page && html` <a href=${page} target="_blank" rel="noopener noreferrer" title="The application's own page of live tasks: see more, cancel">live</a>`}</td></tr>`;
}
