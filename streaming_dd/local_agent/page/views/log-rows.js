// Log lines as rows that open: message, attributes, the trace they belong to.
import { html, useState } from "../vendor/preact.js";
import { get } from "../data.js";
import { href } from "../state.js";
import { clock, day, quoted } from "../format.js";
import { Json, State, Tags, walk } from "../parts.js";

export function LogRows({ logs, onFilter, day: withDay }) {
  return html`<ul class="rows logs" onKeyDown=${walk}>${logs.map((log) => html`<${LogRow} key=${log.id} log=${log} onFilter=${onFilter} withDay=${withDay} />`)}</ul>`;
}

export function LogRow({ log, onFilter, withDay }) {
  const [open, setOpen] = useState(false);
  return html`<li class=${open ? "open" : ""}>
    <button type="button" data-row class="line" aria-expanded=${open} onClick=${() => setOpen(!open)}>
      <${State} state=${log.status} /><time>${withDay ? day(log.timestamp) : clock(log.timestamp, true)}</time><span class="service">${log.service}</span><span class="message">${log.message.slice(0, 400) || "(no message)"}</span>
    </button>
    ${open && html`<${LogDetail} log=${log} onFilter=${onFilter} />`}
  </li>`;
}

function LogDetail({ log, onFilter }) {
  const [whole, setWhole] = useState(null);
  const attributes = Object.entries((whole || log).attributes);
  const stack = log.attributes["error.stack"];
  return html`<div class="detail">
    <pre class="message" tabindex="0">${(whole || log).message}</pre>
    ${log.cut && !whole && html`<p><button type="button" class="small" onClick=${() => get(`logs/${log.id}`).then(setWhole)}>Show all ${log.cut} characters</button></p>`}
    <p class="links">${log.trace_id && html`<a href=${href("/traces/" + log.trace_id)}>trace ${log.trace_id.slice(-16)}</a>`} <span class="dim">${day(log.timestamp)} ${log.source} ${log.host}</span> <${Tags} tags=${log.tags} /></p>
    ${stack && html`<pre class="stack" tabindex="0">${stack}</pre>`}
    <table class="attributes"><tbody>${attributes.filter(([key]) => key !== "error.stack" && key !== "message").slice(0, 100).map(([key, value]) => html`<tr><th scope="row">${key}</th><td>${typeof value === "object" ? html`<${Json} value=${value} />` : String(value)}</td>
      <td>${onFilter && typeof value !== "object" && String(value).length < 200 && html`<button type="button" class="small" aria-label=${`Filter by ${key}`} onClick=${() => onFilter(`@${key}:${quoted(value)}`)}>filter</button>`}</td></tr>`)}</tbody></table>
  </div>`;
}
