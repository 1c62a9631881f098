// Spans as rows of a table, each a link to its trace.
import { html } from "../vendor/preact.js";
import { href } from "../state.js";
import { clock, seconds, whole } from "../format.js";
import { State, walk } from "../parts.js";

export function SpanRows({ spans }) {
  const most = Math.max(...spans.map((span) => span.duration_ns), 1);
  return html`<table class="data phone spans"><thead><tr><th scope="col">start</th><th scope="col">service</th><th scope="col">operation</th><th scope="col">resource</th><th scope="col" class="n">duration</th><th scope="col">status</th><th scope="col" class="n">spans</th></tr></thead>
    <tbody onKeyDown=${walk}>${spans.map((span) => html`<tr key=${span.id}>
      <td class="nowrap" data-name="start">${clock(span.start_ns / 1e9, true)}</td><td data-name="service">${span.service}</td><td data-name="operation">${span.name}</td>
      <td class="grow" title=${span.resource}><a data-row href=${href("/traces/" + span.trace_id, { span: span.span_id })}>${span.resource}</a></td>
      <td class="n nowrap" data-name="duration"><i class="minibar" style=${{ width: `${Math.max(2, Math.sqrt(span.duration_ns / most) * 60)}px` }}></i>${seconds(span.duration_ns / 1e9)}</td>
      <td data-name="status">${span.error ? html`<${State} state="error" />` : html`<span class="dim">ok</span>`}</td>${span.spans ? html`<td class="n" data-name="spans">${whole(span.spans)}</td>` : html`<td class="n"></td>`}</tr>`)}</tbody></table>`;
}
