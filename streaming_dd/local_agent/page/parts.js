// Small parts that every view uses: states, empty states, tables, tabs. No state of the page.
import { html, useState } from "./vendor/preact.js";
import { href } from "./state.js";
import { day, ago } from "./format.js";

const SIGNS = { OK: "✓", Warn: "!", Alert: "✕", "No Data": "?", Skipped: "…", Ignored: "–",
  running: "▶", completed: "✓", failed: "✕", cancelled: "⊘", lost: "?", ok: "✓", warn: "!", warning: "!", critical: "✕", unknown: "?", error: "✕" };
const LEVELS = { OK: "good", Warn: "warn", Alert: "bad", "No Data": "calm", Skipped: "calm", Ignored: "calm",
  running: "info", completed: "good", failed: "bad", cancelled: "calm", lost: "warn", ok: "good", warn: "warn", warning: "warn", critical: "bad",
  unknown: "calm", error: "bad", emergency: "bad", alert: "bad", notice: "info", info: "info", debug: "calm" };

export const level = (state) => LEVELS[state] || "calm";

// A state is a word and a sign, never a colour alone.
export function State({ state, children }) {
  return html`<span class=${"state " + level(state)}><i aria-hidden="true">${SIGNS[state] || "•"}</i>${children || state}</span>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><b>${title}</b>${children && html`<div>${children}</div>`}</div>`;
}

export function Failure({ error, query }) {
  const position = error.position ?? null, text = query ?? error.query;
  return html`<div class="failure" role="alert"><b>${error.unsupported ? "Not rendered locally" : "This cannot be answered"}</b>
    <div>${error.message || error.error || String(error)}</div>
    ${text && position !== null && html`<pre>${text}${"\n"}${" ".repeat(Math.min(position, text.length))}^</pre>`}</div>`;
}

// Why a widget has nothing to show, and the next step.
export function Nothing({ empty }) {
  if (!empty?.length) return html`<${Empty} title="Nothing in this range" />`;
  const one = empty[0];
  if (one.reason === "never") {
    return html`<${Empty} title="Not sent yet">No application has sent <code>${one.metric}</code>. It appears with the first one that counts.</${Empty}>`;
  }
  if (one.reason === "filtered") {
    return html`<${Empty} title="Nothing with these filters"><code>${one.metric}</code> is there, but not for what is chosen above. <a href=${href(location.pathname, { env: null, service: null, version: null, app: null, model: null })}>Clear the filters</a></${Empty}>`;
  }
  return html`<${Empty} title="Nothing in this range"><code>${one.metric}</code> was last seen ${ago(one.last_time)}. <a href=${href(location.pathname, { start: one.last_time - 600, end: one.last_time + 300, range: null })}>Go to ${day(one.last_time)}</a></${Empty}>`;
}

export function Tile({ title, value, sub, state, children, link }) {
  const body = html`<h3>${title}</h3><div class="value">${value}</div>${children}${sub && html`<div class="sub">${sub}</div>`}`;
  return link ? html`<a class=${"tile " + (state || "")} href=${link}>${body}</a>` : html`<div class=${"tile " + (state || "")}>${body}</div>`;
}

export function Card({ title, children, tools, class: more = "", level: depth = 2 }) {
  return html`<section class=${"card " + more}>${(title || tools) && html`<header>${depth === 2 ? html`<h2>${title}</h2>` : html`<h3>${title}</h3>`}<div class="tools">${tools}</div></header>`}${children}</section>`;
}

export function Tags({ tags }) {
  return html`<span class="tags">${tags.map((tag) => html`<span class="tag">${tag}</span>`)}</span>`;
}

export function Copy({ text, label = "copy" }) {
  const [done, setDone] = useState(false);
  return html`<button type="button" class="small" onClick=${() => navigator.clipboard?.writeText(text).then(() => { setDone(true); setTimeout(() => setDone(false), 1500); })}>${done ? "copied" : label}</button>`;
}

export function Json({ value }) {
  return html`<pre class="json" tabindex="0">${JSON.stringify(value, null, 2)}</pre>`;
}

// Rows that the arrow keys walk; Enter opens the row's link.
export function walk(event) {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const rows = [...event.currentTarget.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement.closest("[data-row]"));
  const next = rows[at + (event.key === "ArrowDown" ? 1 : -1)];
  if (next) { event.preventDefault(); next.focus(); }
}

export function Ribbon({ segments, start, end, label }) {
  const span = end - start;
  return html`<div class="ribbon" role="img" aria-label=${`${label}: ${segments.map(([a, , s]) => `${s} from ${day(a)}`).join(", ") || "not evaluated yet"}`}>
    ${segments.map(([a, b, state]) => html`<i class=${level(state)} title=${`${state} ${day(a)} to ${day(b)}`} style=${{ left: `${((a - start) / span) * 100}%`, width: `${Math.max(0.3, ((b - a) / span) * 100)}%` }}></i>`)}
  </div>`;
}
