// The search of traces and logs: Datadog's syntax, with the error under its character.
import { html, useEffect, useRef } from "../vendor/preact.js";
import { change } from "../state.js";

export function SearchBox({ text, placeholder, hints = [], error, children }) {
  const box = useRef(null);
  useEffect(() => { if (document.activeElement !== box.current) box.current.value = text; }, [text]);
  const submit = (event) => { event.preventDefault(); change({ query: box.current.value.trim() }); };
  return html`<form class="bar search" role="search" onSubmit=${submit}>
    <input type="search" ref=${box} defaultValue=${text} aria-label="Search" placeholder=${placeholder} spellcheck="false" autocomplete="off" onSearch=${submit} /><button type="submit">Search</button>
    <div class="hints">${hints.map(([label, query]) => html`<button type="button" class="small" aria-pressed=${text === query} onClick=${() => change({ query: text === query ? null : query })}>${label}</button>`)}${children}</div>
    ${error && html`<div class="failure" role="alert"><b>${error.status === 400 ? "This search does not parse" : "The search failed"}</b><div>${error.message}</div></div>`}
  </form>`;
}
