// Services as nodes, calls (solid) and links (dashed) as edges with their rate, errors and p95. Drawn in columns from callers to
// called, on a narrow page in rows; a table below it says the same. Pure functions of what the agent answers.
import { html } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { href, range } from "../state.js";
import { Card } from "../parts.js";
import { number, percent, quoted, seconds, whole } from "../format.js";

const NODE = { width: 160, height: 60 }, GAP = { across: 34, along: 230, down: 100 };
const BAD = 0.05;

// The layer of each service: one more than that of its callers; an edge that closes a circle does not count.
export function layers(names, edges) {
  const callers = new Map(names.map((name) => [name, edges.filter((e) => e.to === name && e.from !== name).map((e) => e.from)]));
  const depth = new Map(), open = new Set();
  const of = (name) => {
    if (depth.has(name)) return depth.get(name);
    if (open.has(name)) return -1;
    open.add(name);
    const found = 1 + Math.max(-1, ...callers.get(name).map(of));
    open.delete(name);
    depth.set(name, found);
    return found;
  };
  names.forEach(of);
  return depth;
}

// Where the nodes stand: {name: {x, y}}, and how large the drawing is. In a layer they are sorted by where their callers are.
export function placed(names, edges, upright) {
  const depth = layers(names, edges), rows = [], at = new Map();
  for (const name of names) (rows[depth.get(name)] ||= []).push(name);
  rows.forEach((row, layer) => {
    const pull = (name) => {
      const above = edges.filter((e) => e.to === name && at.has(e.from)).map((e) => at.get(e.from).order);
      return above.length ? above.reduce((a, b) => a + b) / above.length : Infinity;
    };
    const sorted = layer ? [...row].sort((a, b) => pull(a) - pull(b)) : row;
    sorted.forEach((name, order) => at.set(name, { layer, order: order - (row.length - 1) / 2 }));
  });
  const most = Math.max(...rows.map((row) => row.length));
  const across = (upright ? NODE.width : NODE.height) + GAP.across, along = upright ? NODE.height + GAP.down : NODE.width + GAP.along;
  const size = { breadth: most * across, length: rows.length * along - (upright ? GAP.down : GAP.along) };
  for (const point of at.values()) {
    const b = size.breadth / 2 + point.order * across, l = point.layer * along + (upright ? NODE.height : NODE.width) / 2;
    [point.x, point.y] = upright ? [b, l] : [l, b];
  }
  return { at, width: upright ? size.breadth : size.length, height: upright ? size.length : size.breadth };
}

// The curve of an edge, as a path and as the point at a share of its way.
function curve(from, to, upright) {
  const a = upright ? { x: from.x, y: from.y + NODE.height / 2 } : { x: from.x + NODE.width / 2, y: from.y };
  const b = upright ? { x: to.x, y: to.y - NODE.height / 2 - 5 } : { x: to.x - NODE.width / 2 - 5, y: to.y };
  const bend = to.layer <= from.layer ? 90 : (upright ? b.y - a.y : b.x - a.x) / 2;
  const c = upright ? { x: a.x, y: a.y + bend } : { x: a.x + bend, y: a.y }, d = upright ? { x: b.x, y: b.y - bend } : { x: b.x - bend, y: b.y };
  const on = (t, k) => (1 - t) ** 3 * a[k] + 3 * (1 - t) ** 2 * t * c[k] + 3 * (1 - t) * t * t * d[k] + t ** 3 * b[k];
  return { path: `M${a.x} ${a.y}C${c.x} ${c.y} ${d.x} ${d.y} ${b.x} ${b.y}`, point: (t) => ({ x: on(t, "x"), y: on(t, "y") }) };
}

// Each edge with its curve and a place for its label that no label before it has taken.
function drawing(edges, at, upright) {
  const taken = [];
  const free = (p) => taken.every((q) => Math.abs(p.x - q.x) > 112 || Math.abs(p.y - q.y) > 30);
  return edges.map((edge) => {
    const { path, point } = curve(at.get(edge.from), at.get(edge.to), upright);
    const label = [0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.2].map(point).find(free) || point(0.5);
    taken.push(label);
    return { edge, path, label };
  });
}

function Line({ edge, path }) {
  const failing = edge.error_rate > BAD;
  return html`<g class=${`edge ${edge.kind} ${failing ? "failing" : ""}`}><path d=${path} marker-end=${failing ? "url(#tip-bad)" : "url(#tip)"} style=${{ strokeWidth: Math.min(6, 1.2 + Math.log10(1 + edge.calls)) }} /></g>`;
}

function Label({ edge, label: { x, y } }) {
  const failed = edge.errors > 0, text = `${number(edge.per_second)}/s · ${seconds(edge.p95)}`, width = 6.4 * text.length, height = failed ? 30 : 15;
  return html`<g class="label"><rect x=${x - width / 2} y=${y - height / 2} width=${width} height=${height} /><text x=${x} y=${y - (failed ? 7 : 0)}>${text}</text>${failed && html`<text class="errors" x=${x} y=${y + 9}>✕ ${percent(edge.error_rate)}</text>`}</g>`;
}

function Node({ name, row, at, own }) {
  const x = at.x - NODE.width / 2, y = at.y - NODE.height / 2, failing = row?.error_rate > BAD;
  const short = name.length > 20 ? `${name.slice(0, 19)}…` : name;
  const said = row ? `${number(row.per_second)}/s${row.errors ? ` · ✕ ${percent(row.error_rate)}` : ""}` : "only called";
  return html`<a href=${href("/services/" + encodeURIComponent(name))} class=${`node ${failing ? "failing" : ""}`}><title>${name}</title>
    <rect x=${x} y=${y} width=${NODE.width} height=${NODE.height} rx="8" /><text x=${at.x} y=${y + (own ? 15 : 22)} class="name">${short}</text>
    <text x=${at.x} y=${y + (own ? 31 : 41)} class=${row?.errors ? "errors" : ""}>${said}</text>${own && html`<text x=${at.x} y=${y + 47}>↻ ${number(own.per_second)}/s to itself</text>`}</a>`;
}

const tip = (id) => html`<marker id=${id} viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" /></marker>`;

// `rows`: those of the services' table, one per service and operation.
export function ServiceMap({ rows }) {
  const { data } = useGet("services/map", range());
  if (!data?.edges.length) return null;
  const by = new Map();
  for (const row of rows) {
    const one = by.get(row.service) || { per_second: 0, hits: 0, errors: 0 };
    by.set(row.service, { per_second: one.per_second + row.per_second, hits: one.hits + row.hits, errors: one.errors + row.errors });
  }
  for (const one of by.values()) one.error_rate = one.hits ? one.errors / one.hits : 0;
  const edges = data.edges, between = edges.filter((e) => e.from !== e.to), upright = matchMedia("(max-width: 760px)").matches;
  const names = [...new Set(edges.flatMap((e) => [e.from, e.to]))].slice(0, 60), drawn = between.filter((e) => names.includes(e.from) && names.includes(e.to));
  const { at, width, height } = placed(names, drawn, upright);
  const lines = drawing(drawn, at, upright), own = new Map(edges.filter((e) => e.from === e.to).map((e) => [e.from, e])), pad = 14;
  return html`<${Card} title="Who calls whom" tools=${html`<span class="dim">dashed: linked, not called · rate and p95 of the called side · of a service: all its operations</span>`}>
    <div class="scroll map-box" tabindex="0" role="region" aria-label="Service map"><svg class="map" viewBox=${`${-pad} ${-pad} ${width + 2 * pad} ${height + 2 * pad}`} width=${width + 2 * pad} height=${height + 2 * pad} role="group" aria-label=${`${names.length} services, ${edges.length} edges; the table below says the same`}>
      <defs>${tip("tip")}${tip("tip-bad")}</defs>
      ${lines.map((line) => html`<${Line} ...${line} />`)}${lines.map((line) => html`<${Label} ...${line} />`)}
      ${names.map((name) => html`<${Node} key=${name} name=${name} row=${by.get(name)} at=${at.get(name)} own=${own.get(name)} />`)}
    </svg></div>
    <details><summary>As a table</summary><div class="scroll" tabindex="0"><table class="data phone edges"><thead><tr><th scope="col">from</th><th scope="col">to</th><th scope="col">by</th><th scope="col" class="n">per second</th><th scope="col" class="n">count</th><th scope="col" class="n">errors</th><th scope="col" class="n">p95</th></tr></thead>
      <tbody>${edges.map((edge) => html`<tr><td>${edge.from}</td><td data-name="to"><a href=${href("/traces", { query: `service:${quoted(edge.to)}${edge.errors ? " status:error" : ""}`, all: null })}>${edge.to}</a></td><td data-name="by">${edge.kind === "call" ? "call" : "link"}</td><td class="n" data-name="per second">${number(edge.per_second)}</td><td class="n" data-name="count">${whole(edge.calls)}</td><td data-name="errors" class=${"n " + (edge.error_rate > BAD ? "bad" : "")}>${edge.errors ? `${edge.error_rate > BAD ? "✕ " : ""}${percent(edge.error_rate)}` : "0"}</td><td class="n" data-name="p95">${seconds(edge.p95)}</td></tr>`)}</tbody></table></div></details>
    ${data.newest_only && html`<p class="dim">Of the newest ${whole(data.newest_only)} calls and links.</p>`}${data.left_out > 0 && html`<p class="dim">${whole(data.left_out)} less busy edges are left out.</p>`}
  </${Card}>`;
}
