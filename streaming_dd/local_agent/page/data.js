// Asking the agent: GET with a hook, and all widgets' requests of one moment in one POST. State: the batch being gathered.
import { useState, useEffect, useRef } from "./vendor/preact.js";
import { range, variables, useStore } from "./state.js";

export class Refused extends Error {
  constructor(answer, status) { super(answer.error || `status ${status}`); this.position = answer.position; this.status = status; }
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return read(await fetch(`/api/${path}${text ? "?" + text : ""}`));
}

async function read(response) {
  const answer = await response.json().catch(() => ({ error: `the agent answered with status ${response.status}` }));
  if (!response.ok) throw new Refused(answer, response.status);
  return answer;
}

// What changes what the agent holds: the Content-Type is one that no page from elsewhere can send.
export async function post(path, body, type) {
  return read(await fetch(`/api/${path}`, { method: "POST", headers: { "Content-Type": type }, body }));
}

// {data, error, again}: asked again when the path, a parameter or (if `live`) the tick changes; old data stays meanwhile.
export function useGet(path, parameters = {}, { live = true, skip = false } = {}) {
  const [state, setState] = useState({ data: null, error: null });
  const [nonce, setNonce] = useState(0);
  const key = path + JSON.stringify(parameters), tick = useStore((s) => s.tick);
  const last = useRef(key);
  useEffect(() => {
    if (skip) return undefined;
    let gone = false;
    if (last.current !== key) { last.current = key; setState((old) => ({ ...old, stale: true })); }
    get(path, parameters).then(
      (data) => gone || setState({ data, error: null, key }),
      (error) => gone || setState((old) => ({ data: error.status ? null : old.data, error, key })),
    );
    return () => { gone = true; };
  }, [key, live ? tick : 0, nonce, skip]);
  return { ...state, again: () => setNonce((n) => n + 1) };
}

// --- one POST for all widgets ----------------------------------------------------------------------------------------

let waiting = [];
function ask(request, declared) {
  return new Promise((resolve, reject) => {
    if (!waiting.length) setTimeout(send, 15);
    waiting.push({ request, declared, resolve, reject });
  });
}

async function send() {
  const batch = waiting;
  waiting = [];
  const groups = new Map();
  for (const one of batch) {
    const key = JSON.stringify(one.declared ?? null);
    groups.set(key, [...(groups.get(key) || []), one]);
  }
  for (const group of groups.values()) {
    for (let i = 0; i < group.length; i += 100) await answered(group.slice(i, i + 100));
  }
}

async function answered(group) {
  const body = { ...range(), variables: variables(group[0].declared), requests: group.map((one) => one.request) };
  try {
    const answer = await read(await fetch("/api/query", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    }));
    group.forEach((one, i) => one.resolve({ ...answer.results[i], start: answer.start, end: answer.end }));
  } catch (error) {
    group.forEach((one) => one.reject(error));
  }
}

// The answers to `requests` (null while there is none), asked for while the element behind `ref` can be seen.
export function useQueries(requests, ref, declared) {
  const [answers, setAnswers] = useState(null);
  const tick = useStore((s) => s.tick), address = useStore((s) => s.address);
  const [seen, setSeen] = useState(!ref);
  useEffect(() => {
    if (!ref?.current) return undefined;
    const observer = new IntersectionObserver(([entry]) => setSeen(entry.isIntersecting), { rootMargin: "200px" });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  const key = JSON.stringify(requests);
  useEffect(() => {
    if (!seen || !requests.length) return undefined;
    let gone = false;
    Promise.all(requests.map((request) => ask(request, declared))).then(
      (found) => gone || setAnswers(found),
      (error) => gone || setAnswers((old) => old || requests.map(() => ({ error: error.message }))),
    );
    return () => { gone = true; };
  }, [key, seen, tick, address]);
  return answers;
}
