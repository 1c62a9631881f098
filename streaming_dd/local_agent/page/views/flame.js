// A trace as a flame graph: each span under its parent, as wide as it lasted. What runs at the same time has rows of its own.
import { html } from "../vendor/preact.js";
import { seconds } from "../format.js";

const ROW = 22;

// The row of each span: the first below its parent's that is free for its time.
export function lanes(rows) {
  const taken = [], row = new Map();
  for (const { span } of rows) {
    const end = span.start_ns + span.duration_ns;
    let at = (row.get(span.parent_id) ?? -1) + 1;
    while ((taken[at] || []).some(([from, to]) => from < end && to > span.start_ns)) at += 1;
    (taken[at] ||= []).push([span.start_ns, end]);
    row.set(span.span_id, at);
  }
  return { row, height: taken.length };
}

export function Flame({ rows, place, ink, selected, select }) {
  const shown = rows.slice(0, 1500), { row, height } = lanes(shown);
  return html`<div class="scroll flame-box" tabindex="0" role="region" aria-label="Flame graph"><div class="flame" style=${{ height: `${height * ROW}px` }}>${shown.map(({ span }) => {
    const left = place(span.start_ns), width = place(span.start_ns + span.duration_ns) - left, label = `${span.name} ${span.resource !== span.name ? span.resource : ""}`;
    return html`<button type="button" key=${span.id} data-row data-span=${span.span_id} data-error=${span.error ? "1" : undefined} class=${span.error ? "failed" : ""} aria-pressed=${span === selected} title=${`${label} · ${seconds(span.duration_ns / 1e9)}`} aria-label=${`${label}, ${seconds(span.duration_ns / 1e9)}${span.error ? ", failed" : ""}`}
      style=${{ left: `${left}%`, width: `max(3px, ${width}%)`, top: `${row.get(span.span_id) * ROW}px`, borderColor: `var(--${ink(span.service)})` }} onClick=${() => select(span)}>${width > 4 ? `${span.error ? "✕ " : ""}${label}` : ""}</button>`;
  })}</div></div>${rows.length > 1500 && html`<p class="dim">${rows.length - 1500} more spans are left out.</p>`}`;
}
