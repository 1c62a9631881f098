// The page's state: its address (view, time range, template variables), the live connection, what the agent last said.
// Everything else is asked for again. Views call the hooks; `store.set` tells them.
import { useState, useEffect, useRef } from "./vendor/preact.js";

export const VARIABLES = ["env", "service", "version", "app", "model"];
export const RANGES = ["5m", "15m", "1h", "4h", "24h"];
const SHARED = [...VARIABLES, "range", "start", "end", "live"];

const listeners = new Set();
export const store = {
  page: null,           // /api/page: variables, dashboards, monitors' states
  status: null,         // the last `status` event: rates and totals
  tick: 0,              // grows with every bucket that closes, while live
  connection: "none",   // none, open, lost
  retries: 0,
  paused: new URLSearchParams(location.search).get("live") === "0",
  theme: document.documentElement.dataset.theme,
  said: "",             // for screen readers: the last transition of a monitor
  set(changes) {
    Object.assign(store, changes);
    for (const listener of [...listeners]) listener();
  },
};

export function useStore(pick) {
  const [value, setValue] = useState(() => pick(store));
  const latest = useRef(value);
  useEffect(() => {
    const listen = () => {
      const next = pick(store);
      if (next !== latest.current) { latest.current = next; setValue(next); }
    };
    listeners.add(listen);
    listen();
    return () => listeners.delete(listen);
  }, []);
  return value;
}

// --- the address -------------------------------------------------------------------------------------------------

export function parameters() { return new URLSearchParams(location.search); }

export function href(path, extra = {}) {
  const now = parameters(), next = new URLSearchParams();
  for (const name of SHARED) for (const value of now.getAll(name)) next.append(name, value);
  for (const [name, value] of Object.entries(extra)) {
    next.delete(name);
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) next.append(name, one);
  }
  const query = next.toString();
  return path + (query ? "?" + query : "");
}

export function go(path, extra = {}, replace = false) {
  const to = href(path, extra);
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  moved();
}

// Change parameters of the present view, keep all others.
export function change(extra, replace = false) {
  const own = {};
  for (const [name] of parameters()) own[name] = parameters().getAll(name);
  go(location.pathname, { ...own, ...extra }, replace);
}

const moved = () => store.set({ address: location.pathname + location.search });
store.address = location.pathname + location.search;
addEventListener("popstate", moved);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.getAttribute("href").startsWith("/api/") || link.target) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  moved();
  scrollTo(0, 0);
  document.querySelector("main")?.focus({ preventScroll: true });
});

export function useAddress() {
  useStore((s) => s.address);
  const query = parameters();
  return { path: location.pathname.split("/").filter(Boolean).map(decodeURIComponent), query };
}

// The range as the API takes it.
export function range() {
  const query = parameters();
  if (query.get("start") && query.get("end")) return { start: query.get("start"), end: query.get("end") };
  const named = query.get("range");
  return { range: RANGES.includes(named) ? named : "15m" };
}

// The chosen template variables, as POST /api/query takes them.
export function variables(declared = VARIABLES.map((name) => ({ name, prefix: name }))) {
  const query = parameters(), chosen = {};
  for (const { name, prefix, defaults } of declared) {
    const values = query.getAll(name);
    chosen[name] = { key: prefix || name, values: values.length ? values : (defaults || ["*"]) };
  }
  return chosen;
}

export function chosenTags() {
  const query = parameters();
  return VARIABLES.flatMap((name) => query.getAll(name).map((value) => [name, value]));
}

// --- what the agent pushes -----------------------------------------------------------------------------------------

let source = null, closed = 0;
export function connect() {
  if (parameters().get("live") === "0" || source) return;
  source = new EventSource("/api/live");
  source.onopen = () => store.set({ connection: "open", retries: 0 });
  source.onerror = () => {
    store.set({ connection: "lost", retries: store.retries + 1 });
    if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(connect, 3000); }
  };
  source.addEventListener("status", (event) => store.set({ status: JSON.parse(event.data) }));
  source.addEventListener("tick", (event) => {
    const { bucket } = JSON.parse(event.data);
    if (bucket === closed) return;
    closed = bucket;
    if (!store.paused) store.set({ tick: store.tick + 1 });
  });
  source.addEventListener("transition", (event) => {
    const { monitor, before, after, time, rule } = JSON.parse(event.data);
    store.set({ said: `Monitor ${monitor} went from ${before} to ${after}` });
    // A new connection hears the last transition again: only a fresh one is worth a notification.
    if (notifies() && after !== "Skipped" && before !== "Skipped" && Date.now() / 1000 - time < 60) {
      new Notification(`${after}: ${store.page?.states.find((each) => each.name === monitor)?.title || monitor}`, { body: rule, tag: monitor });
    }
  });
}

// Notifications of this browser, if they were asked for. State: localStorage "notify" and the browser's permission.
export const notifies = () => localStorage.getItem("notify") === "1" && window.Notification?.permission === "granted";
export async function setNotifies(wanted) {
  const granted = wanted && (await window.Notification?.requestPermission()) === "granted";
  localStorage.setItem("notify", granted ? "1" : "0");
  return granted;
}

export function setPaused(paused) {
  store.set({ paused, tick: paused ? store.tick : store.tick + 1 });
}
