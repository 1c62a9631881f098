// What spans call the tags of metrics: from a point of a chart to the spans that it counts. No state.
import { quoted } from "./format.js";

const NAMES = {
  env: "env", service: "service", version: "version", resource_name: "resource_name", operation: "operation_name", route: "@http.route", method: "@http.method",
  error_type: "@error.type", app: "@task.app", model: "@task.model", outcome: "@task.status", "http.status_code": "@http.status_code",
};

// The search of a group of tags, and the tags that spans do not carry.
export function spanSearch(group) {
  const terms = [], unknown = [];
  for (const [key, value] of Object.entries(group || {})) {
    const status = key === "status_class" && /^([1-5])xx$/.exec(value);
    if (status) terms.push(`@http.status_code:[${status[1]}00 TO ${status[1]}99]`);
    else if (NAMES[key] && value) terms.push(`${NAMES[key]}:${quoted(value)}`);
    else unknown.push(key);
  }
  return { search: terms.join(" "), unknown };
}
