// Services by their entry spans: traffic, errors, latency; a row opens its resources.
import { html } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { chosenTags, href, range, useAddress } from "../state.js";
import { Card, Empty, Failure, walk } from "../parts.js";
import { ServiceMap } from "./service-map.js";
import { number, percent, quoted, seconds, whole } from "../format.js";

export function Services() {
  const { path } = useAddress(), service = path[1];
  const { data, error } = useGet("services", { ...range(), service }), named = useGet("resources", { service }, { skip: !service });
  const nameOf = (row) => named.data?.resources[row.resource] ?? row.resource; // metrics carry it as a tag, in lower case
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Adding up …</p>`;
  const chosen = new Map(chosenTags());
  const rows = data.services.filter((row) => service || !chosen.get("service") || row.service === chosen.get("service"));
  if (!rows.length) return html`<${Empty} title="No service in this range">A service appears with its first trace. The agent computes <code>trace.*</code> metrics from entry and measured spans, as Datadog does.</${Empty}>`;
  return html`${service && html`<p><a href=${href("/services")}>← all services</a></p>`}${!service && html`<${ServiceMap} rows=${data.services} />`}
    <${Card} title=${service ? `Resources of ${service}` : "Services"} tools=${service && html`<a href=${href("/traces", { query: `service:${quoted(service)} status:error` })}>failed traces</a>`}>
    <div class="scroll" tabindex="0"><table class="data phone"><thead><tr><th scope="col">${service ? "resource" : "service"}</th><th scope="col">operation</th><th scope="col" class="n">hits/s</th><th scope="col" class="n">hits</th><th scope="col" class="n">errors</th><th scope="col" class="n">p50</th><th scope="col" class="n">p95</th><th scope="col" class="n">p99</th><th scope="col">versions</th></tr></thead>
      <tbody onKeyDown=${walk}>${rows.map((row) => html`<tr>
        <td class="grow"><a data-row href=${service ? href("/traces", { query: `service:${quoted(row.service)} operation_name:${quoted(row.operation)} resource_name:${quoted(nameOf(row) || "")}` }) : href("/services/" + encodeURIComponent(row.service))}>${service ? nameOf(row) : row.service}</a></td>
        <td data-name="operation">${row.operation}</td><td class="n" data-name="hits/s">${number(row.per_second)}</td><td class="n" data-name="hits">${whole(row.hits)}</td><td data-name="errors" class=${"n " + (row.error_rate > 0.05 ? "bad" : "")}>${row.errors ? `${row.error_rate > 0.05 ? "✕ " : ""}${percent(row.error_rate)}` : "0"}</td>
        <td class="n" data-name="p50">${seconds(row.p50)}</td><td class="n" data-name="p95">${seconds(row.p95)}</td><td class="n" data-name="p99">${seconds(row.p99)}</td><td data-name="versions">${row.versions.join(", ")}</td></tr>`)}</tbody></table></div></${Card}>`;
}
