// How the agent itself is doing: what came in, what was refused and why, how full its stores are.
import { html, useRef, useState } from "../vendor/preact.js";
import { post, useGet } from "../data.js";
import { store, useStore } from "../state.js";
import { Card, Empty, Failure, State, Tile } from "../parts.js";
import { bytes, clock, count, day, number, seconds, whole } from "../format.js";

export function Health() {
  const { data, error } = useGet("health"), checks = useGet("checks"), events = useGet("events", { limit: 30 }), rates = useStore((s) => s.status)?.rates;
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Looking at myself …</p>`;
  const { dogstatsd, series, records, listening, traces, logs } = data, now = rates || data.rates;
  return html`<div class="tiles">
      <${Tile} title="Metrics" value=${`${number(now.samples ?? 0)} /s`} sub=${`${count(dogstatsd.samples, "sample")} in ${count(dogstatsd.datagrams, "datagram")}`} />
      <${Tile} title="Spans" value=${`${number(now.spans ?? 0)} /s`} sub=${`${whole(records.spans.rows + records.spans.dropped)} since the start`} />
      <${Tile} title="Log lines" value=${`${number(now.logs ?? 0)} /s`} sub=${`${whole(records.logs.rows + records.logs.dropped)} since the start`} />
      <${Tile} title="Malformed" state=${dogstatsd.malformed ? "warn" : "good"} value=${whole(dogstatsd.malformed)} sub="DogStatsD lines that could not be read" />
      <${Tile} title="Memory" value=${bytes(data.memory.rss)} sub=${`up ${seconds(Math.round(data.now - data.started))}, Python ${data.python}`} /></div>
    ${data.problems.map((problem) => html`<p class="notice">${problem}</p>`)}
    <div class="pair">
    <${Card} title="What is kept, and its bounds"><${Bound} name="series" now=${series.count} most=${series.max} /><${Bound} name="bins of distributions" now=${series.sketch_bins} most=${series.max_sketch_bins} />
      ${["spans", "logs"].map((name) => html`<${Bound} name=${name} now=${records[name].rows} most=${records[name].max_rows} note=${`${bytes(records[name].bytes)} of ${bytes(records[name].max_bytes)}${records[name].dropped ? `; ${whole(records[name].dropped)} older ones were dropped` : ""}`} />`)}
      <p class="dim">Metrics: 4 hours of 10 s, then minutes up to 24 hours. ${data.persist ? `Kept over restarts in ${data.persist}.` : "In memory: a restart begins anew (--persist FILE keeps them)."}</p>
      ${Object.keys(series.rejected).length > 0 && html`<p class="notice">Refused for lack of room: ${Object.entries(series.rejected).map(([name, count]) => `${name} (${whole(count)})`).join(", ")}</p>`}
      ${series.mixed_kinds.length > 0 && html`<p class="notice">Sent with more than one type: ${series.mixed_kinds.join(", ")}</p>`}</${Card}>
    <${Transfer} />
    <${Card} title="Listening"><dl class="facts">${Object.entries(listening).filter(([, value]) => value !== null).map(([name, value]) => html`<dt>${name.replaceAll("_", " ")}</dt><dd><code title=${value}>${shortened(value)}</code></dd>`)}
      <dt>dropped by the kernel</dt><dd>${dogstatsd.dropped_by_kernel ?? "unknown"}</dd><dt>oversized</dt><dd>${dogstatsd.oversized}</dd><dt>clock steps back</dt><dd>${dogstatsd.clock_steps_back}</dd><dt>cut log lines</dt><dd>${logs.cut_lines}</dd><dt>open pages</dt><dd>${data.live.readers} <span class="dim">${count(data.live.missed, "update")} missed</span></dd>
      ${Object.entries(traces.clients).map(([language, version]) => html`<dt>tracer, ${language}</dt><dd>${version}</dd>`)}</dl></${Card}>
    <${Card} title="Lines that could not be read">${dogstatsd.malformed_lines.length ? html`<ul class="plain">${dogstatsd.malformed_lines.map((each) => html`<li><code class="wrap">${each.line.slice(0, 300)}</code><div class="dim">${each.reason}</div></li>`)}</ul>` : html`<${Empty} title="None" />`}</${Card}>
    <${Card} title="Trace endpoints"><table class="data phone"><thead><tr><th scope="col">path</th><th scope="col" class="n">requests</th><th scope="col" class="n">rejected</th></tr></thead><tbody>${Object.entries(traces.requests).map(([path, count]) => html`<tr><td class="mono grow">${path}</td><td class="n" data-name="requests">${whole(count)}</td><td class=${"n " + (traces.rejected[path] ? "warn" : "")} data-name="rejected">${traces.rejected[path] ? "! " : ""}${whole(traces.rejected[path] || 0)}</td></tr>`)}</tbody></table>
      ${logs.sources.map((source) => html`<p><code>${source.path}</code> ${source.problem ? html`<span class="bad">✕ ${source.problem}</span>` : html`<${State} state="ok" />`}</p>`)}</${Card}>
    <${Card} title="Service checks">${checks.data?.checks.length ? html`<div class="scroll short" tabindex="0"><table class="data phone"><thead><tr><th scope="col">check</th><th scope="col">status</th><th scope="col">tags</th><th scope="col">last run</th></tr></thead><tbody>${checks.data.checks.map((check) => { const run = check.runs.at(-1); return html`<tr><td>${check.name}</td><td><${State} state=${run.status} /></td><td class="dim" data-name="tags">${check.tags.join(" ")}</td><td class="nowrap" data-name="last run">${clock(run.timestamp)} ${run.message}</td></tr>`; })}</tbody></table></div>` : html`<${Empty} title="None yet" />`}</${Card}>
    <${Card} title="Events">${events.data?.events.length ? html`<ul class="plain">${events.data.events.map((event) => html`<li><time>${day(event.timestamp)}</time> <b>${event.title}</b> <span class="dim">${event.text}</span></li>`)}</ul>` : html`<${Empty} title="None yet" />`}</${Card}></div>`;
}

// Between two tries: forget everything, take it away as a file, bring a file back. The file is what --persist writes.
function Transfer() {
  const [said, say] = useState(null), [sure, ask] = useState(false), file = useRef(null), again = () => store.set({ tick: store.tick + 1 });
  const done = (promise, text) => promise.then(() => { say({ text }); again(); }, (error) => say({ text: error.message, bad: true }));
  const clear = () => { ask(false); done(post("clear", "{}", "application/json"), "Everything was cleared."); };
  const bring = () => {
    const [chosen] = file.current.files;
    if (chosen) { say({ text: `Reading ${chosen.name} …` }); done(post("import", chosen, "application/vnd.sqlite3"), `${chosen.name} is what you see now.`).then(() => { file.current.value = ""; }); }
  };
  return html`<${Card} title="Between two tries"><div class="links transfer">
      <a class="button" href="/api/export" download>Export a file</a>
      <button type="button" onClick=${() => file.current.click()}>Import a file …</button><input type="file" class="hidden" tabindex="-1" aria-label="File to import" accept=".sqlite" ref=${file} onChange=${bring} />
      ${sure ? html`<span>All metrics, spans, logs and states?</span><button type="button" class="danger" onClick=${clear}>Yes, clear</button><button type="button" onClick=${() => ask(false)}>No</button>` : html`<button type="button" onClick=${() => { say(null); ask(true); }}>Clear …</button>`}</div>
    <p class="dim">An export holds everything that is kept here, in one file. An import replaces it; its times stay what they were.</p>
    <p role="status" class=${said?.bad ? "bad" : "good"}>${said && `${said.bad ? "✕" : "✓"} ${said.text}`}</p></${Card}>`;
}

// A socket by its name; the whole path is in its title.
const shortened = (value) => String(value).replace(/^.*\/(?=[^/]+$)/, "…/");

function Bound({ name, now, most, note }) {
  const share = most ? now / most : 0;
  return html`<div class="bound"><span>${name}</span><div class="meter" role="img" aria-label=${`${name}: ${whole(now)} of ${whole(most)}`}><i class=${share > 0.9 ? "warn" : "good"} style=${{ width: `${Math.min(100, share * 100)}%` }}></i></div><b>${whole(now)}</b><span class="dim">of ${whole(most)}${note ? ` · ${note}` : ""}</span></div>`;
}
