// Counts over time, by status, as /api/logs/histogram and /api/traces/histogram give them.
import { html } from "../vendor/preact.js";
import { Chart } from "../chart.js";

const LEVELS = ["debug", "info", "notice", "ok", "warn", "error", "critical", "alert", "emergency"];

export function Histogram({ data, label }) {
  if (!data) return html`<section class="card"><div class="waiting"></div></section>`;
  const known = [...new Set(data.counts.map(([, status]) => status))].sort((a, b) => LEVELS.indexOf(a) - LEVELS.indexOf(b));
  const steps = 60; // what the agent cuts a range into
  const times = Array.from({ length: steps }, (_, i) => data.start + i * data.step);
  const curves = known.map((status) => ({ alias: status, group: {}, values: times.map(() => 0) }));
  for (const [step, status, count] of data.counts) { const at = Math.min(step, steps - 1); curves[known.indexOf(status)].values[at] += count; }
  if (!curves.length) return null;
  return html`<section class="card histogram"><${Chart} times=${times} curves=${curves} kind="bars" height=${90} label=${label} /></section>`;
}

// The counts of one row of a table.
export function Bars({ counts }) {
  const most = Math.max(...counts, 1);
  return html`<svg class="counts-bars" viewBox=${`0 0 ${counts.length} 10`} preserveAspectRatio="none" role="img" aria-label=${`at most ${most} at once`}>${counts.map((n, i) => n > 0 && html`<rect x=${i} width="0.85" y=${10 - Math.max(1, (n / most) * 10)} height=${Math.max(1, (n / most) * 10)} />`)}</svg>`;
}
