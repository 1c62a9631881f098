// Numbers, units, times and names for people. Pure functions.

const SCALE = { nanosecond: 1e-9, microsecond: 1e-6, millisecond: 1e-3, second: 1, minute: 60, hour: 3600 };

export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return trim(value / 1e9, digits) + " G";
  if (size >= 1e6) return trim(value / 1e6, digits) + " M";
  if (size >= 1e4) return trim(value / 1e3, digits) + " k";
  if (size && size < 0.001) return value.toExponential(1);
  return trim(value, digits);
}
const trim = (value, digits) => String(Number(value.toPrecision(digits)));

export function whole(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en-US").replace(/,/g, " ");
}

export function count(number, one) {
  return `${whole(number)} ${one}${number === 1 ? "" : "s"}`;
}

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (!size) return "0 s";
  if (size < 1e-6) return trim(value * 1e9, 3) + " ns";
  if (size < 1e-3) return trim(value * 1e6, 3) + " µs";
  if (size < 1) return trim(value * 1e3, 3) + " ms";
  if (size < 120) return trim(value, 3) + " s";
  if (size < 7200) return `${Math.floor(size / 60)} min ${Math.round(size % 60)} s`;
  if (size < 172800) return `${Math.floor(size / 3600)} h ${Math.round((size % 3600) / 60)} min`;
  return trim(value / 86400, 3) + " d";
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["GB", 2 ** 30], ["MB", 2 ** 20], ["KB", 2 ** 10]]) {
    if (Math.abs(value) >= size) return `${trim(value / size, 3)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${trim(share * 100, 3)} %`;
}

// A value in the unit that a dashboard's formula names.
export function inUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  const name = unit?.unit_name, per = unit?.per_unit_name ? ` / ${short(unit.per_unit_name)}` : "";
  if (name === "percent") return `${number(value)} %`;
  if (name === "fraction") return percent(value);
  if (name in SCALE) return seconds(value * SCALE[name]) + per;
  if (name === "byte") return bytes(value) + per;
  return number(value) + (per || "");
}
const short = (unit) => ({ second: "s", minute: "min", hour: "h" })[unit] || unit;

export function clock(epoch, precise = false) {
  const date = new Date(epoch * 1000), pad = (n, width = 2) => String(n).padStart(width, "0");
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return precise ? `${time}.${pad(date.getMilliseconds(), 3)}` : time;
}

export function day(epoch) {
  const date = new Date(epoch * 1000);
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock(epoch)}`;
}

export function ago(epoch, now = Date.now() / 1000) {
  const passed = Math.max(0, now - epoch);
  if (passed < 5) return "now";
  if (passed < 120) return `${Math.round(passed)} s ago`;
  if (passed < 7200) return `${Math.round(passed / 60)} min ago`;
  return `${Math.round(passed / 3600)} h ago`;
}

export function groupName(group) {
  const parts = Object.entries(group || {});
  return parts.length === 1 ? parts[0][1] : parts.map(([, value]) => value).join(" · ");
}

// One word or phrase of a search, quoted if it needs to be.
export function quoted(value) {
  const text = String(value);
  return /^[\w.\-/]+$/.test(text) ? text : `"${text.replace(/(["\\])/g, "\\$1")}"`;
}
