// Why this mix: what each group carries, and which requests it serves for the least money.

import { h, section, table, unknown } from "./dom.js";
import { count, percent } from "./format.js";

const sum = (values) => values.reduce((total, value) => total + value, 0);
const isFigure = (value) => typeof value === "number" && Number.isFinite(value);

/** `heat`: as for the heat map; may be missing, as `figures` may. */
export function mixSection(plan, { requests_per_usd: heat, figures }) {
  const cells = cellsOf(plan);
  const total = sum(cells.map(({ rate }) => rate));
  const columns = [
    { head: "Group", cell: (group) => group.name },
    { head: "Carries", number: true, cell: (group) => carried(figures, plan.groups.indexOf(group)) },
    { head: "Cheapest for", cell: (group) => cheapestFor(group.name, cells, total, heat) },
  ];
  return section("Why this mix", {}, table({ caption: "Why this mix", columns, rows: plan.groups }));
}

/** The buckets with traffic. */
function cellsOf(plan) {
  return (plan.routing?.buckets ?? []).filter(({ rate_rps: rate }) => rate > 0).map((bucket) => ({
    input: bucket.input_tokens, output: bucket.output_tokens, rate: bucket.rate_rps,
  }));
}

const carried = (figures, place) => (figures ? [figures.carried[place], h("small", {}, "of your requests")] : "unknown");

function cheapestFor(name, cells, total, heat) {
  const known = (heat?.groups ?? []).filter(({ requests_per_usd: rows }) => rows);
  const own = (heat?.groups ?? []).find(({ group }) => group === name);
  if (!own?.requests_per_usd) return unknown(own?.reason ?? "its requests per dollar are not known");
  const best = cells.filter((cell) => {
    const value = valueAt(own, cell, heat);
    return isFigure(value) && known.every((other) => !(valueAt(other, cell, heat) > value));
  });
  if (!best.length) return ["none of your requests", h("small", {}, "it takes what the machines of the others leave")];
  const rate = sum(best.map((cell) => cell.rate));
  return [`${percent(rate / total)} of your requests`,
    h("small", {}, `up to ${span(best.map(({ input }) => input))} input and ${span(best.map(({ output }) => output))} output tokens`)];
}

function valueAt({ requests_per_usd: rows }, { input, output }, { input_edges: inputs, output_edges: outputs }) {
  return rows[inputs.indexOf(input)]?.[outputs.indexOf(output)];
}

function span(edges) {
  const [low, high] = [Math.min(...edges), Math.max(...edges)];
  return low === high ? count(low) : `${count(low)}–${count(high)}`;
}
