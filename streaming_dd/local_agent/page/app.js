// The frame: rail, top bar, status strip, keyboard, and the view that the address names. State: none beside state.js.
import { html, render, useEffect, useRef, useState, useErrorBoundary } from "./vendor/preact.js";
import { RANGES, VARIABLES, change, connect, go, href, parameters, setPaused, store, useAddress, useStore } from "./state.js";
import { get } from "./data.js";
import { clock, number } from "./format.js";
import { Overview } from "./views/overview.js";
import { Dashboards } from "./views/dashboards.js";
import { Services } from "./views/services.js";
import { Tasks } from "./views/tasks.js";
import { Errors } from "./views/errors.js";
import { Traces } from "./views/traces.js";
import { Logs } from "./views/logs.js";
import { Monitors } from "./views/monitors.js";
import { Capacity } from "./views/capacity.js";
import { Metrics } from "./views/metrics.js";
import { Health } from "./views/health.js";

const VIEWS = [
  ["overview", "Overview", "o", Overview, "M3 12h4l3-8 4 16 3-8h4"],
  ["dashboards", "Dashboards", "d", Dashboards, "M4 4h7v9H4zM13 4h7v5h-7zM13 11h7v9h-7zM4 15h7v5H4z"],
  ["services", "Services", "s", Services, "M12 3l8 4.500v9L12 21l-8-4.500v-9zM12 12l8-4.500M12 12v9M12 12L4 7.500"],
  ["tasks", "Tasks", "k", Tasks, "M4 6h2M9 6h11M4 12h2M9 12h8M4 18h2M9 18h10"],
  ["errors", "Errors", "e", Errors, "M12 3l9 16H3zM12 10v4M12 16.500v.500"],
  ["traces", "Traces", "t", Traces, "M3 5h12M7 10h10M10 15h7M12 20h9"],
  ["logs", "Logs", "l", Logs, "M5 3h10l4 4v14H5zM8 11h8M8 15h8"],
  ["monitors", "Monitors", "m", Monitors, "M12 3a6 6 0 0 1 6 6v5l2 3H4l2-3V9a6 6 0 0 1 6-6zM10 20h4"],
  ["capacity", "Capacity", "c", Capacity, "M4 20V10M10 20V4M16 20v-7M21 20H3"],
  ["metrics", "Metrics", "x", Metrics, "M4 20l5-8 4 4 7-12M4 20h16"],
  ["health", "Agent health", "h", Health, "M12 20s-8-5-8-11a4.500 4.500 0 0 1 8-2.800A4.500 4.500 0 0 1 20 9c0 6-8 11-8 11z"],
];

function App() {
  const { path } = useAddress();
  const view = VIEWS.find(([name]) => name === (path[0] || "overview"));
  const main = useRef(null);
  useEffect(() => { document.title = title(view, store.page); }, [view]);
  return html`<a class="skip" href="#main">Skip to the content</a>
    <${Rail} now=${view?.[0]} />
    <div class="column">
      <${TopBar} view=${view} />
      <${Lost} />
      <main id="main" tabindex="-1" ref=${main}>
        ${view ? html`<${Guarded} key=${view[0]} view=${view[3]} />` : html`<p class="loading">There is no view ${path[0]}. <a href=${href("/overview")}>Overview</a></p>`}
      </main>
      <${Strip} />
    </div>
    <${Help} />
    <div class="hidden" aria-live="polite"><${Said} /></div>`;
}

function Guarded({ view: View }) {
  const [error, again] = useErrorBoundary((problem) => console.error(problem));
  if (error) return html`<div class="failure" role="alert"><b>This view failed</b><div>${String(error)}</div><button type="button" onClick=${again}>Try again</button></div>`;
  return html`<${View} />`;
}

function Rail({ now }) {
  useStore((s) => s.address);
  const alerts = useStore((s) => s.page)?.states.filter((each) => each.state === "Alert").length || 0;
  return html`<nav class="rail" aria-label="Views">
    <a class="brand" href=${href("/overview")}><svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><rect width="32" height="32" rx="7" /><path d="M4 18h5l3-9 5 15 4-10 2 4h5" /></svg><span>Local agent</span></a>
    <ul>${VIEWS.map(([name, label, key, , shape]) => html`<li><a href=${href("/" + name)} aria-current=${name === now ? "page" : undefined} title=${`${label}  (g ${key})`}>
      <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path d=${shape} /></svg><span>${label}</span>
      ${name === "monitors" && alerts > 0 && html`<b class="count" aria-label=${`${alerts} in Alert`}>${alerts}</b>`}</a></li>`)}</ul>
  </nav>`;
}

function TopBar({ view }) {
  const page = useStore((s) => s.page), paused = useStore((s) => s.paused), theme = useStore((s) => s.theme);
  const connection = useStore((s) => s.connection);
  const query = parameters(), fixed = query.get("start") && query.get("end");
  return html`<div class="top" role="toolbar" aria-label="Filters and time">
    <h1>${view?.[1] || "Nothing here"}</h1>
    <div class="variables">${VARIABLES.map((name) => html`<${Variable} name=${name} values=${page?.variables[name] || []} chosen=${query.getAll(name)} />`)}</div>
    <div class="time">
      ${fixed && html`<button type="button" class="on" title="Back to the last 15 minutes" onClick=${() => change({ start: null, end: null, range: "15m" })}>${clock(+query.get("start"))} – ${clock(+query.get("end"))} ✕</button>`}
      <div class="segmented" role="group" aria-label="Time range">${RANGES.map((each) => html`<button type="button" aria-pressed=${!fixed && (query.get("range") || "15m") === each} onClick=${() => change({ range: each, start: null, end: null })}>${each}</button>`)}</div>
      <button type="button" class=${"live " + (paused ? "" : connection === "lost" ? "lost" : "on")} aria-pressed=${!paused} title="Live or paused (space)" onClick=${() => setPaused(!paused)}>${paused ? "❚❚ paused" : "● live"}</button>
      <button type="button" class="icon" title="Light or dark (t)" aria-label="Light or dark" onClick=${turn}>${theme === "dark" ? "☀" : "☾"}</button>
      <button type="button" class="icon" title="Keys (?)" aria-label="Keys" onClick=${() => document.getElementById("help").showModal()}>?</button>
    </div>
  </div>`;
}

function Variable({ name, values, chosen }) {
  const all = [...new Set([...values, ...chosen])];
  return html`<label class=${chosen.length ? "variable on" : "variable"}><span>${name}</span><select value=${chosen[0] || "*"} onChange=${(event) => change({ [name]: event.target.value === "*" ? null : event.target.value })}>
    <option value="*">all</option>${all.map((value) => html`<option value=${value}>${value}</option>`)}</select></label>`;
}

function Lost() {
  const connection = useStore((s) => s.connection), retries = useStore((s) => s.retries);
  if (connection !== "lost") return null;
  return html`<div class="lost-bar" role="status">Lost the connection to the agent; what you see is the last it said. Retrying (${retries}) …</div>`;
}

function Said() { return useStore((s) => s.said); }

function Strip() {
  const status = useStore((s) => s.status), kept = useStore((s) => s.kept), overview = useStore((s) => s.overview);
  const rates = status?.rates || overview?.rates || {};
  return html`<footer class="strip"><span>DogStatsD <b>${number(rates.samples ?? 0, 3)}</b>/s</span><span>spans <b>${number(rates.spans ?? 0, 3)}</b>/s</span><span>logs <b>${number(rates.logs ?? 0, 3)}</b>/s</span>
    ${kept && html`<span><b>${kept.spans.dropped + kept.logs.dropped}</b> older dropped</span><span class="bounds">keeping ${kept.hours} h of 10 s, ${kept.minutes_hours} h of minutes · ${number(kept.spans.max_rows)} spans · ${number(kept.logs.max_rows)} logs</span>`}
    <a href=${href("/health")}>agent health</a></footer>`;
}

const KEYS = [["g o", "Overview"], ["g d", "Dashboards"], ["g s", "Services"], ["g k", "Tasks"], ["g e", "Errors"], ["g t", "Traces"], ["g l", "Logs"], ["g m", "Monitors"],
  ["g c", "Capacity"], ["g x", "Metrics"], ["g h", "Agent health"], ["/", "search"], ["[  ]", "earlier, later"], ["space", "live or paused"], ["t", "light or dark"],
  ["↑ ↓", "walk rows; in a trace ← → fold, e next error, l logs only"], ["esc", "close"], ["?", "this list"]];

function Help() {
  return html`<dialog id="help" aria-label="Keys"><h2>Keys</h2><dl>${KEYS.map(([key, what]) => html`<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`)}</dl>
    <p class="dim">Drag over a chart to zoom, click it for traces, logs and tasks of that time. Every view is an address: share it, bookmark it.</p>
    <form method="dialog"><button>Close</button></form></dialog>`;
}

function turn() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  store.set({ theme });
}

let prefixed = -Infinity; // when g was handled, milliseconds since the page was opened
addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest?.("dialog")) return;
  if (target.matches?.("input, textarea, select")) { if (key === "Escape") target.blur(); return; }
  if (event.timeStamp - prefixed < 1500) { // when it was pressed, however long the page was busy meanwhile
    prefixed = -Infinity;
    const found = VIEWS.find((view) => view[2] === key);
    if (found) { event.preventDefault(); go("/" + found[0]); return; }
  }
  if (key === "g") prefixed = performance.now();
  else if (key === "/") { const box = document.querySelector("input[type=search]"); if (box) { event.preventDefault(); box.focus(); box.select(); } else { event.preventDefault(); go("/logs"); } }
  else if (key === " " && !target.closest?.("button, a, summary, [data-row]")) { event.preventDefault(); setPaused(!store.paused); }
  else if (key === "t") turn();
  else if (key === "?") document.getElementById("help").showModal();
  else if (key === "[" || key === "]") shift(key === "[" ? -1 : 1);
});

function shift(way) {
  const query = parameters(), unit = { m: 60, h: 3600 };
  const named = query.get("range") || "15m", now = Date.now() / 1000;
  const span = query.get("start") ? query.get("end") - query.get("start") : parseInt(named, 10) * unit[named.slice(-1)];
  const start = (query.get("start") ? +query.get("start") : now - span) + (way * span) / 2;
  if (start + span >= now) change({ start: null, end: null });
  else change({ start: Math.round(start), end: Math.round(start + span), range: null });
}

function title(view, page) {
  const alerts = page?.states.filter((each) => each.state === "Alert").length || 0;
  return `${alerts ? `(${alerts}) ` : ""}${view?.[1] || "Local agent"} · Local agent`;
}

async function refresh() {
  try {
    const [page, overview] = await Promise.all([get("page"), get("overview")]);
    store.set({ page, kept: overview.kept, overview });
    const alert = page.states.some((each) => each.state === "Alert");
    const icon = document.getElementById("favicon"), wanted = alert ? "/page/icon-alert.svg" : "/page/icon.svg";
    if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
    document.title = title(VIEWS.find(([name]) => name === (location.pathname.split("/")[1] || "overview")), page);
  } catch (error) {
    if (!store.page) store.set({ connection: "lost" });
  }
}

function Root() {
  const tick = useStore((s) => s.tick);
  const [ready, setReady] = useState(false);
  useEffect(() => { refresh().then(() => setReady(true)); }, [tick]);
  useEffect(() => { connect(); }, []);
  return ready ? html`<${App} />` : html`<p class="loading">Asking the agent …</p>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${Root} />`, root);
