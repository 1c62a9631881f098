// Charts over time on uPlot: lines, bars and areas, one crosshair for the page, drag to zoom, a table for each. No state
// beyond the uPlot objects.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { change, href, useStore } from "./state.js";
import { clock, day, groupName, inUnit, number } from "./format.js";
import { spanSearch } from "./span-tags.js";

const MEANING = {
  "2xx": "good", ok: "good", completed: "good", "3xx": "info", "1xx": "info", "4xx": "warn", warn: "warn", warning: "warn",
  "5xx": "bad", error: "bad", errors: "bad", failed: "bad", critical: "bad", cancelled: "calm", debug: "calm",
  info: "info", client_disconnect: "calm", started: "s1",
};
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function nameOf(curve, all) {
  const same = (key) => all.length > 1 && all.every((each) => each.group?.[key] === curve.group[key]);
  const telling = Object.entries(curve.group || {}).filter(([key]) => !same(key));
  const group = groupName(Object.fromEntries(telling)), aliases = new Set(all.map((each) => each.alias));
  if (!group) return curve.alias || "value";
  return aliases.size > 1 && curve.alias ? `${curve.alias} · ${group}` : group;
}

function paint(curves) {
  let next = 0;
  return curves.map((curve) => MEANING[nameOf(curve, curves).toLowerCase()] || `s${(next++ % 8) + 1}`);
}

function stacked(curves) {
  const sum = [], rows = [];
  for (const curve of curves) {
    rows.push(curve.values.map((value, i) => {
      if (value === null) return sum[i] === undefined ? null : sum[i];
      sum[i] = (sum[i] || 0) + value;
      return sum[i];
    }));
  }
  return rows;
}

// curves: [{alias, group, values}]; kind: line, bars or area; markers: [{value, label, level}]; spans: shaded [from, to, level].
export function Chart({ times, curves, kind = "line", unit, markers = [], spans = [], height = 190, label = "chart", zero = true, legend = true, plain = false }) {
  const place = useRef(null), plot = useRef(null), tip = useRef(null), dragged = useRef(-1000);
  const [pivot, setPivot] = useState(null);
  const theme = useStore((s) => s.theme);
  const stack = kind !== "line" && curves.length > 1;
  const names = curves.map((curve) => nameOf(curve, curves)), inks = paint(curves), whole = settled(times, curves, kind);
  const data = [times, ...(stack ? stacked(curves) : curves.map((curve) => curve.values))];
  const shape = JSON.stringify([kind, names, inks, theme, markers, unit, height]);
  const now = useRef({});
  now.current = { curves, spans, times };

  useEffect(() => {
    if (!times.length) return undefined;
    const element = place.current;
    const options = {
      width: element.clientWidth || 300, height, padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "page", setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 6 },
      },
      scales: { x: { time: true }, y: { range: (u, low, high) => bounds(low, high, zero, markers) } },
      axes: plain ? [{ show: false }, { show: false }] : [
        axis({ values: (u, splits, _, __, step) => splits.map((at) => clock(at).slice(0, step < 60 ? 8 : 5)), space: 70, size: 26 }),
        axis({ values: (u, splits) => splits.map((value) => inUnit(value, unit)), size: sizeOf, space: 32 }),
      ],
      series: [{}, ...curves.map((_, i) => line(kind, colour(inks[i]), stack))],
      bands: stack && kind === "area" ? curves.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : undefined,
      hooks: {
        drawClear: [(u) => shade(u, now.current.spans)],
        draw: [(u) => rule(u, markers)],
        setCursor: [(u) => point(u, tip.current, now.current, names, inks, unit)],
        setSelect: [(u) => { if (u.select.width >= 4) dragged.current = performance.now(); zoom(u); }],
      },
    };
    if (stack && kind === "bars") { // the tallest is drawn first
      options.series = [options.series[0], ...options.series.slice(1).reverse()];
    }
    const chart = plot.current = new window.uPlot(options, order(data, stack && kind === "bars"), element);
    chart.over.addEventListener("click", () => {
      const { idx, left } = chart.cursor;
      if (idx === null || idx === undefined || performance.now() - dragged.current < 300) return; // a drag ends in a click, too
      const at = now.current.times[idx], step = (now.current.times[1] ?? at + 10) - now.current.times[0];
      setPivot((old) => (old ? null : { left, at, step, group: under(chart, now.current.curves, idx, stack)?.group }));
    });
    const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(60, element.clientWidth), height }));
    observer.observe(element);
    return () => { observer.disconnect(); chart.destroy(); plot.current = null; };
  }, [shape, !times.length]);
  useEffect(() => { plot.current?.setData(order(data, stack && kind === "bars")); });

  return html`<div class="chart" onKeyDown=${(event) => event.key === "Escape" && setPivot(null)}>
    <div class="plot" ref=${place} role="img" aria-label=${`${label}: ${describe(whole, names, unit)}`} style=${{ minHeight: height + "px" }}>
      <div class="tip" ref=${tip} hidden></div>
      ${pivot && html`<${Pivot} ...${pivot} width=${place.current?.clientWidth} close=${() => setPivot(null)} />`}
    </div>
    ${legend && curves.length > 0 && html`<${Legend} curves=${whole} names=${names} inks=${inks} unit=${unit} />`}
  </div>`;
}

const order = (data, reverse) => (reverse ? [data[0], ...data.slice(1).reverse()] : data);

function axis(changes) {
  return {
    stroke: colour("dim"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, gap: 4,
    font: "11px system-ui, sans-serif", ...changes,
  };
}

function sizeOf(u, values, index, cycle) {
  const axis = u.axes[index];
  if (cycle > 1) return axis._size;
  return Math.max(34, 12 + 6.4 * Math.max(0, ...(values || []).map((text) => text.length)));
}

function bounds(low, high, zero, markers) {
  if (low === null) return [0, 1];
  let top = high, bottom = zero ? Math.min(0, low) : low;
  for (const { value } of markers) if (value <= high * 4 || high === 0) { top = Math.max(top, value); bottom = Math.min(bottom, value); }
  if (top === bottom) top = bottom + (Math.abs(bottom) || 1);
  return [bottom, top + (top - bottom) * 0.06];
}

function line(kind, ink, stack) {
  const base = { stroke: ink, width: 1.6, points: { size: 4, fill: ink } };
  if (kind === "bars") return { ...base, fill: ink, width: 0, points: { show: false }, paths: window.uPlot.paths.bars({ size: [0.75, 40], align: 1 }) };
  if (kind === "area") return { ...base, width: stack ? 0.8 : 1.6, fill: ink + (stack ? "99" : "33"), points: { show: false } };
  return base;
}

function shade(u, spans) {
  for (const [from, to, level] of spans) {
    const left = Math.max(u.bbox.left, u.valToPos(from, "x", true)), right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(to, "x", true));
    if (right <= left) continue;
    u.ctx.fillStyle = colour(level) + "26";
    u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
  }
}

// Lines first, then their names on plates: a name that lies on the line of a near threshold stays readable.
function rule(u, markers) {
  const { ctx, bbox } = u, dot = devicePixelRatio;
  const seen = markers.map((marker, i) => ({ ...marker, i, y: u.valToPos(marker.value, "y", true) })).filter(({ y }) => y >= bbox.top && y <= bbox.top + bbox.height);
  ctx.save();
  ctx.setLineDash([6 * dot, 4 * dot]);
  ctx.lineWidth = dot * 1.2;
  for (const { y, level } of seen) {
    ctx.strokeStyle = colour(level);
    ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
  }
  ctx.font = `${11 * dot}px system-ui, sans-serif`;
  ctx.textAlign = "left"; ctx.textBaseline = "bottom";
  for (const { y, level, label, value, i } of seen) {
    const text = label || number(value), width = ctx.measureText(text).width;
    const x = i % 2 ? bbox.left + 4 * dot : bbox.left + bbox.width - width - 4 * dot; // apart, where thresholds are near each other
    ctx.globalAlpha = 0.8; ctx.fillStyle = colour("card"); ctx.fillRect(x - 2 * dot, y - 14 * dot, width + 4 * dot, 13 * dot);
    ctx.globalAlpha = 1; ctx.fillStyle = colour(level); ctx.fillText(text, x, y - 2 * dot);
  }
  ctx.restore();
}

// The values under the crosshair; text only, so that no name can be markup.
function point(u, tip, { curves, times }, names, inks, unit) {
  const { idx, left } = u.cursor;
  if (!tip) return;
  if (idx === null || idx === undefined || left < 0) { tip.hidden = true; return; }
  const rows = curves.map((curve, i) => [names[i], curve.values[idx], inks[i]])
    .filter(([, value]) => value !== null && value !== undefined).sort((a, b) => b[1] - a[1]).slice(0, 8);
  const head = document.createElement("b");
  head.textContent = clock(times[idx]);
  tip.replaceChildren(head, ...rows.map(([name, value, ink]) => {
    const row = document.createElement("div"), dot = document.createElement("i"), text = document.createElement("span");
    dot.style.background = `var(--${ink})`;
    text.textContent = `${name}  ${inUnit(value, unit)}`;
    row.append(dot, text);
    return row;
  }));
  tip.hidden = !rows.length;
  const width = u.over.clientWidth, beyond = left > width / 2, x = u.over.offsetLeft + left;
  tip.style.left = beyond ? "" : `${x + 12}px`;
  tip.style.right = beyond ? `${u.root.clientWidth - x + 12}px` : "";
}

function zoom(u) {
  if (u.select.width < 4) return;
  const start = Math.floor(u.posToVal(u.select.left, "x")), end = Math.ceil(u.posToVal(u.select.left + u.select.width, "x"));
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (end - start >= 10) change({ start, end, range: null });
}

// The curve at the cursor: of what is stacked the one whose part it is, else the nearest.
function under(chart, curves, idx, stack) {
  const at = chart.posToVal(chart.cursor.top, "y");
  let best = null, least = Infinity, sum = 0;
  for (const curve of curves) {
    const value = curve.values[idx];
    if (value === null || value === undefined) continue;
    sum += value;
    if (stack && value > 0) best = curve;
    if (stack && value > 0 && at <= sum) return curve;
    if (!stack && Math.abs(value - at) < least) { best = curve; least = Math.abs(value - at); }
  }
  return best ?? (curves.length === 1 ? curves[0] : null); // a lone curve is meant wherever it is clicked
}

function Pivot({ left, at, step, group, width, close }) {
  const from = at - step, to = at + 2 * step, links = useRef(null);
  useEffect(() => links.current?.querySelector("a")?.focus(), []);
  const zoomed = { start: from, end: to, range: null }, { search, unknown } = spanSearch(group);
  return html`<div class="pivot" ref=${links} style=${{ left: `${Math.max(0, Math.min(left, (width || 300) - 190))}px` }}>
    <b>${clock(at)}</b>
    ${["traces", "logs", "tasks"].map((view) => html`<a href=${href("/" + view, zoomed)}>${view} at this time</a>`)}
    ${search && html`<a href=${href("/traces", { ...zoomed, query: search, all: "1" })}>traces with ${groupName(group)}</a>`}
    ${unknown.length > 0 && html`<span class="dim">spans carry no ${unknown.join(", ")}</span>`}
    <button type="button" onClick=${close}>close</button>
  </div>`;
}

function Legend({ curves, names, inks, unit }) {
  const [all, setAll] = useState(false), most = all ? 60 : 5;
  const rows = curves.map((curve, i) => [names[i], inks[i], last(curve.values)]);
  return html`<ul class="legend">
    ${rows.slice(0, most).map(([name, ink, value]) => html`<li title=${name}><i style=${{ background: `var(--${ink})` }}></i><span>${name}</span> <b>${inUnit(value, unit)}</b></li>`)}
    ${rows.length > most && html`<li><button type="button" class="link" onClick=${() => setAll(true)}>+${rows.length - most} more</button></li>`}
  </ul>`;
}

// Counts without the bucket that still fills, unless there is no other: half of it would be said to be the last.
export function settled(times, curves, kind, now = Date.now() / 1000) {
  if (kind !== "bars" || times.length < 2 || now >= 2 * times.at(-1) - times.at(-2)) return curves;
  return curves.map((curve) => (last(curve.values.slice(0, -1)) === null ? curve : { ...curve, values: curve.values.slice(0, -1) }));
}

export function last(values) {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i];
  return null;
}

function describe(curves, names, unit) {
  if (!curves.length) return "no data";
  return curves.slice(0, 6).map((curve, i) => {
    const there = curve.values.filter((value) => value !== null);
    if (!there.length) return `${names[i]}: no data`;
    return `${names[i]}: last ${inUnit(last(curve.values), unit)}, highest ${inUnit(Math.max(...there), unit)}`;
  }).join("; ");
}

export function ChartTable({ times, curves, unit }) {
  const names = curves.map((curve) => nameOf(curve, curves)).slice(0, 12);
  const rows = times.map((time, i) => [time, ...curves.slice(0, 12).map((curve) => curve.values[i])])
    .filter((row) => row.slice(1).some((value) => value !== null)).slice(-120).reverse();
  return html`<div class="scroll short" tabindex="0"><table class="data phone">
    <thead><tr><th scope="col">time</th>${names.map((name) => html`<th scope="col" class="n">${name}</th>`)}</tr></thead>
    <tbody>${rows.map(([time, ...values]) => html`<tr><td class="nowrap">${day(time)}</td>${values.map((value, i) => html`<td class="n" data-name=${names[i]}>${inUnit(value, unit)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export function Spark({ values, level = "s1", height = 34, label }) {
  const there = values.filter((value) => value !== null);
  if (there.length < 2) return html`<svg class="spark" height=${height} aria-hidden="true"></svg>`;
  const high = Math.max(...there, 0) || 1, low = Math.min(...there, 0), n = values.length - 1;
  const y = (value) => (height - 2 - ((value - low) / (high - low || 1)) * (height - 4)).toFixed(1);
  let path = "", pen = false, first = null, end = null;
  values.forEach((value, i) => {
    if (value === null) { pen = false; return; }
    const x = ((i / n) * 100).toFixed(2);
    path += `${pen ? "L" : "M"}${x} ${y(value)}`;
    pen = true; first ??= x; end = x;
  });
  return html`<svg class="spark" viewBox=${`0 0 100 ${height}`} height=${height} preserveAspectRatio="none" role="img" aria-label=${label || "course"}>
    <path d=${`${path}L${end} ${height}L${first} ${height}Z`} style=${{ fill: `var(--${level})`, opacity: 0.13 }} />
    <path d=${path} style=${{ fill: "none", stroke: `var(--${level})`, strokeWidth: 1.5 }} vector-effect="non-scaling-stroke" />
  </svg>`;
}
