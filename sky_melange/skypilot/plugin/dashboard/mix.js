// Why this mix: what each group carries, and which requests it serves for the least money.

import { h, section, table, unknown } from "./dom.js";
import { count, percent, usd } from "./format.js";

const sum = (values) => values.reduce((total, value) => total + value, 0);
const isFigure = (value) => typeof value === "number" && Number.isFinite(value);

/** `heat`: as for the heat map; may be missing. */
export function mixSection(plan, heat) {
  const cells = cellsOf(plan);
  const total = sum(cells.map(({ rate }) => rate));
  const columns = [
    { head: "Group", cell: (group) => group.name },
    { head: "Carries", number: true, cell: (group) => shareText(sum(cells.map((cell) => cell.taken * (cell.shares[group.name] ?? 0))), total) },
    { head: "Cheapest for", cell: (group) => cheapestFor(group.name, cells, total, heat) },
  ];
  return section("Why this mix", { note: against(plan) }, table({ caption: "Why this mix", columns, rows: plan.groups }));
}

/** The buckets with traffic. `taken`: the rate that the router takes for them, where it only estimates sizes. */
function cellsOf(plan) {
  return (plan.routing?.buckets ?? []).filter(({ rate_rps: rate }) => rate > 0).map((bucket) => ({
    input: bucket.input_tokens, output: bucket.output_tokens, rate: bucket.rate_rps,
    taken: bucket.taken_rps ?? bucket.rate_rps, shares: bucket.shares ?? {},
  }));
}

const shareText = (rate, total) => (total > 0 ? [percent(rate / total), h("small", {}, "of your requests")] : "unknown");

/** The plan beside the cheapest of one type alone, both in total: with controller and router. */
function against({ alternatives, cost, groups }) {
  const known = (alternatives ?? []).filter((one) => isFigure(one.cost_usd_per_hour));
  if (!known.length) return "No single type of GPU serves all of it.";
  const [best] = known.filter((one) => isFigure(one.total_usd_per_hour))
    .sort((one, other) => one.total_usd_per_hour - other.total_usd_per_hour);
  if (!best) return "Made by an earlier release: what one type alone costs in total is unknown.";
  const total = cost.total_usd_per_hour;
  const saved = 1 - total / best.total_usd_per_hour;
  const alone = `${best.label} alone`;
  if (new Set(groups.map(({ accelerator }) => accelerator)).size === 1 && Math.abs(saved) < 1e-9) {
    return `${alone} is the cheapest: ${usd(total)} USD per hour in total.`;
  }
  const compared = saved >= 0 ? `${percent(saved)} less than` : `${percent(-saved)} more than`;
  return `The plan costs ${usd(total)} USD per hour in total, ${compared} ${alone} (${usd(best.total_usd_per_hour)}).`;
}

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
