// The dashboards of dd-agent/, as Datadog lays them out.
import { html } from "../vendor/preact.js";
import { useGet } from "../data.js";
import { href, useAddress } from "../state.js";
import { Empty, Failure } from "../parts.js";
import { Grid } from "../widgets.js";

export function Dashboards() {
  const { path } = useAddress(), name = path[1];
  const { data, error } = useGet("dashboards", {}, { live: false });
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Reading the dashboards …</p>`;
  if (!data.dashboards.length) return html`<${Empty} title="No dashboards">Run the agent where <code>dd-agent/dashboards/</code> is, or write Datadog's dashboard JSON there.</${Empty}>`;
  const now = name || data.dashboards[0].name;
  return html`<nav class="tabs" aria-label="Dashboards">${data.dashboards.map((each) => html`<a href=${href("/dashboards/" + each.name)} aria-current=${each.name === now ? "page" : undefined}>${each.title.replace(/^Streaming:? /, "").replace(/^./, (c) => c.toUpperCase())}</a>`)}</nav>
    ${data.problems.map((problem) => html`<p class="notice">${problem}</p>`)}
    <${Dashboard} key=${now} name=${now} />`;
}

function Dashboard({ name }) {
  const { data, error } = useGet("dashboards/" + encodeURIComponent(name), {}, { live: false });
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return html`<p class="loading">Reading ${name} …</p>`;
  return html`<div class="dashboard"><p class="dim">${String(data.description || "").split("\n")[0]} This is <code>dd-agent/dashboards/${name}.json</code>, the very file that Datadog gets.</p>
    <${Grid} widgets=${data.widgets} declared=${data.template_variables} /></div>`;
}
