// Figures and dates as text, the same whatever the reader's locale.

const MS_PER_DAY = 86_400_000;
const usdFormat = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
const centsFormat = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const plainFormat = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
const wholeFormat = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const threeFormat = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** USD per hour: up to a hundredth of a cent, since prices have them. */
export const usd = (value) => (known(value) ? usdFormat.format(value) : "unknown");
/** USD per month. */
export const cents = (value) => (known(value) ? centsFormat.format(value) : "unknown");
export const count = (value) => (known(value) ? plainFormat.format(value) : "unknown");
/** Three figures at least: `437,806`, `12.1`. */
export const amount = (value) =>
  known(value) ? (value >= 100 ? wholeFormat : threeFormat).format(value) : "unknown";
export const percent = (fraction) => (known(fraction) ? `${plainFormat.format(Math.round(fraction * 1000) / 10)}%` : "unknown");

/** "1 group", "2 groups". */
export const plural = (value, one) => `${count(value)} ${one}${value === 1 ? "" : "s"}`;

/** A figure of a check in its unit. */
export function figure(value, unit) {
  if (!known(value)) return "–";
  if (unit === "fraction") return percent(value);
  if (unit === "hours" && value >= 48) return `${count(Math.round(value / 2.4) / 10)} days`;
  const format = unit === "USD/month" ? cents : unit?.startsWith("USD") ? usd : count;
  return `${format(value)} ${unit ?? ""}`.trim();
}

/** {date, age} of an ISO date or time; null when there is none, or it is no date. */
export function dated(iso, now = Date.now()) {
  const at = typeof iso === "string" ? Date.parse(iso) : NaN;
  if (Number.isNaN(at)) return null;
  const days = Math.floor((now - at) / MS_PER_DAY);
  return { date: iso.slice(0, 10), age: days < 1 ? "today" : `${plural(days, "day")} old` };
}

/** A moment to the minute, in the reader's own time zone. */
export function moment(iso) {
  const at = new Date(iso ?? NaN);
  if (Number.isNaN(at.getTime())) return "unknown";
  const two = (part) => String(part).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}
