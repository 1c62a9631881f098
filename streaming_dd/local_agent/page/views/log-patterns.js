// Log lines that say the same, as one row: what differs from line to line is a mark.
import { html } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { change } from "../state.js";
import { Card, Empty, Failure, State } from "../parts.js";
import { ago, count, whole } from "../format.js";
import { Bars } from "./histogram.js";

const MARK = /(<(?:text|id|address|number)>)/;

export function LogPatterns({ asked }) {
  const { data, error } = useGet("logs/patterns", asked);
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Grouping …</p>`;
  if (!data.patterns.length) return html`<${Empty} title="No line in this range" />`;
  return html`<${Card} title=${`${count(data.patterns.length, "pattern")} in the ${data.all ? "" : "newest "}${count(data.looked_at, "line")}`}><div class="scroll" tabindex="0" role="region" aria-label="Log patterns"><table class="data phone patterns"><thead><tr><th scope="col">pattern</th><th scope="col">status</th><th scope="col">service</th><th scope="col" class="n">count</th><th scope="col">over time</th><th scope="col">last</th></tr></thead>
    <tbody>${data.patterns.map((row) => html`<tr key=${[row.pattern, row.service, row.status].join("\0")}><td class="grow"><button type="button" class="link" title=${row.example} onClick=${() => change({ patterns: null, query: search(row) })}>${row.pattern.split(MARK).map((part, i) => (i % 2 ? html`<mark>${part.slice(1, -1)}</mark>` : part))}</button></td>
      <td data-name="status"><${State} state=${row.status} /></td><td data-name="service">${row.service}</td><td class="n" data-name="count">${whole(row.count)}</td><td data-name="over time"><${Bars} counts=${row.counts} /></td><td class="nowrap" data-name="last">${ago(row.last, data.now)}</td></tr>`)}</tbody></table></div></${Card}>`;
}

// The lines of a pattern: its words of letters, each looked for.
function search(row) {
  const words = row.pattern.split(MARK).filter((_, i) => i % 2 === 0).join(" ").match(/\p{L}[\p{L}\p{N}_]*/gu) || [];
  const own = [...new Set(words)].filter((word) => !/^(AND|OR|NOT|TO|IN)$/i.test(word)).slice(0, 12);
  return [`status:${row.status}`, row.service && `service:${JSON.stringify(row.service)}`, ...own].filter(Boolean).join(" ");
}
