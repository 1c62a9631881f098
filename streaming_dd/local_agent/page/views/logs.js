// Logs: search, a histogram by level, facets, the newest lines, and a tail that pauses.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { get, useGet } from "../data.js";
import { change, href, parameters, range, useAddress, useStore } from "../state.js";
import { Card, Empty, Failure, State } from "../parts.js";
import { quoted, whole } from "../format.js";
import { Histogram } from "./histogram.js";
import { LogPatterns } from "./log-patterns.js";
import { LogRows } from "./log-rows.js";
import { SearchBox } from "./search-box.js";
import { scoped } from "./traces.js";

const FACETS = ["status", "service", "@logger.name", "@task.model", "@task.status", "@error.kind", "@http.route"];

export function Logs() {
  useAddress();
  const query = parameters(), text = query.get("query") || "", search = scoped(text), tail = query.get("tail") === "1", patterns = query.get("patterns") === "1";
  const asked = { ...range(), query: search };
  const lines = useGet("logs", { ...asked, limit: 200 }, { live: !tail, skip: tail || patterns });
  const counts = useGet("logs/histogram", asked), facets = useGet("logs/facets", { ...asked, keys: FACETS.join(",") });
  const add = (term) => change({ query: text.includes(term) ? text : `${text} ${term}`.trim() });
  return html`<${SearchBox} text=${text} placeholder='status:error service:web @task.model:export "timed out"   ( / )' error=${lines.error} hints=${[["errors", "status:error"], ["tasks", "@task.id:*"], ["with a trace", "@dd.trace_id:*"]]}>
      <button type="button" class="small" aria-pressed=${tail} onClick=${() => change({ tail: tail ? null : "1", patterns: null })}>${tail ? "● following" : "follow"}</button><button type="button" class="small" aria-pressed=${patterns} onClick=${() => change({ patterns: patterns ? null : "1", tail: null })}>patterns</button></${SearchBox}>
    <${Histogram} data=${counts.data} label="log lines by status" />
    <div class="faceted"><aside class="card facets" aria-label="Facets">${!facets.data ? html`<div class="waiting"></div>` : Object.entries(facets.data.facets).filter(([, values]) => values.length).map(([key, values]) => html`<details open><summary>${key.replace("@", "")}</summary><ul class="plain">${values.slice(0, 12).map(([value, count]) => html`<li><button type="button" class="facet" onClick=${() => add(`${key}:${quoted(value)}`)}><span title=${value}>${key === "status" ? html`<${State} state=${value} />` : String(value)}</span><b>${whole(count)}</b></button></li>`)}</ul></details>`)}</aside>
    <div class="grow">${patterns ? html`<${LogPatterns} asked=${asked} />` : tail ? html`<${Tail} key=${search} search=${search} onFilter=${add} />`
    : html`<${Card} title=${lines.data ? `${lines.data.logs.length}${lines.data.logs.length === 200 ? " newest lines" : lines.data.logs.length === 1 ? " line" : " lines"}` : "Lines"}>
      ${!lines.data ? !lines.error && html`<p class="loading">Searching …</p>` : !lines.data.logs.length ? html`<${Empty} title=${text ? "No line matches" : "No line in this range"}>${text ? html`<a href=${href("/logs")}>Clear the search</a>` : html`Send JSON lines to the logs port (<code>STREAMING_LOG_AGENT</code>), or let <code>conf.d</code> name the file.`}</${Empty}>` : html`<${Older} key=${search + JSON.stringify(range())} first=${lines.data.logs} asked=${asked} onFilter=${add} />`}</${Card}>`}</div></div>`;
}

function Older({ first, asked, onFilter }) {
  const [more, setMore] = useState([]), [end, setEnd] = useState(false), [error, setError] = useState(null);
  const older = async () => {
    const last = [...first, ...more].at(-1);
    try {
      const found = await get("logs", { ...asked, before_id: last.id, limit: 200 });
      setMore([...more, ...found.logs]);
      setEnd(found.logs.length < 200);
    } catch (problem) { setError(problem); }
  };
  const seen = new Set(first.map((log) => log.id));
  return html`<${LogRows} logs=${[...first, ...more.filter((log) => !seen.has(log.id))]} onFilter=${onFilter} />${error && html`<${Failure} error=${error} />`}
    ${first.length === 200 && !end && html`<p><button type="button" onClick=${older}>Older lines</button></p>`}`;
}

// At most 20 new lines a second; the newest 500 stay.
function Tail({ search, onFilter }) {
  const [lines, setLines] = useState([]), [error, setError] = useState(null), last = useRef(null), paused = useStore((s) => s.paused);
  useEffect(() => {
    if (paused) return undefined;
    let gone = false, timer = null;
    const look = async () => {
      try {
        const found = await get("logs", { query: search, range: "5m", limit: 20, after_id: last.current });
        if (!gone && found.logs.length) {
          last.current = Math.max(...found.logs.map((log) => log.id), last.current || 0);
          setLines((old) => [...found.logs, ...old].slice(0, 500));
        }
        setError(null);
      } catch (problem) { setError(problem); }
      if (!gone) timer = setTimeout(look, 1000);
    };
    look();
    return () => { gone = true; clearTimeout(timer); };
  }, [search, paused]);
  return html`<${Card} title=${`Following${paused ? ", paused (space goes on)" : ""}: at most 20 lines a second, the newest 500 stay`}>${error && html`<${Failure} error=${error} />`}
    ${lines.length ? html`<${LogRows} logs=${lines} onFilter=${onFilter} />` : html`<${Empty} title="Waiting for the next line" />`}</${Card}>`;
}
