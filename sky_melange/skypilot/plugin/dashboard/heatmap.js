// Requests per dollar by request size: a table whose cells are shaded. The figure or name stands in every cell, so that
// the shade only repeats it.

import { h } from "./dom.js";
import { amount, count, percent } from "./format.js";

const BEST = "best";
const COLOURS = 6;

/**
 * `data`: {input_edges, output_edges, groups: [{group, accelerator, requests_per_usd, reason}]}, rows by input. A cell
 * that is null cannot be served within the targets; one that is missing is not known, and neither is a whole table that
 * is, for `reason`. `traffic`: that of the workload, for the share of each cell; may be missing.
 */
export function heatMap(data, traffic) {
  const blank = (data?.groups ?? []).filter(({ requests_per_usd: rows }) => !rows);
  if (!data?.groups || blank.length === data.groups.length) {
    return h("div", { class: "empty" }, h("p", {}, "Requests per dollar are not known for this plan."), blank.map(whyNot));
  }
  const names = labels(data.groups);
  const shares = sharesOf(traffic?.rates_rps, data);
  const views = data.groups.map((group, index) => ({ id: String(index), label: names[index] }));
  if (data.groups.length > 1) views.unshift({ id: BEST, label: "Best group" });
  const shown = h("div");
  const draw = (id) => shown.replaceChildren(
    ...(id === BEST ? bestMap(data, names, shares) : groupMap(data, names, shares, Number(id))));
  draw(views[0].id);
  return h("div", {}, views.length > 1 ? chooser(views, draw) : null, shown, blank.map(whyNot));
}

const whyNot = ({ group, reason }) =>
  h("p", { class: "note" }, h("strong", {}, group), ` is not known: ${reason ?? "the server does not say why"}.`);

/** The accelerator's name where it tells the groups apart, else the group's own. */
function labels(groups) {
  const accelerators = groups.map(({ accelerator }) => accelerator);
  return groups.map(({ group, accelerator }) =>
    accelerator && accelerators.filter((other) => other === accelerator).length === 1 ? accelerator : group);
}

function chooser(views, draw) {
  return h("fieldset", { class: "chooser" }, h("legend", { class: "hidden" }, "Heat map of"), views.map(({ id, label }, index) =>
    h("label", {}, h("input", {
      type: "radio", name: "melange-heat", value: id, checked: index === 0, change: () => draw(id),
    }), h("span", {}, label))));
}

/** The share of all requests in each cell, null where it is not known. */
function sharesOf(rates, { input_edges: inputs, output_edges: outputs }) {
  const total = rates?.flat().reduce((sum, rate) => sum + rate, 0);
  const shareOf = (rate) => (total > 0 && isFigure(rate) ? rate / total : null);
  return inputs.map((_, i) => outputs.map((_, j) => shareOf(rates?.[i]?.[j])));
}

const cellOf = (group, i, j) => (group.requests_per_usd ? group.requests_per_usd[i]?.[j] : undefined);
const isFigure = (value) => typeof value === "number" && Number.isFinite(value);

function grid(data, caption, shares, cellFor) {
  const head = h("tr", {}, h("th", { scope: "col", class: "corner" }, "Input ↓ Output →"),
    data.output_edges.map((edge) => h("th", { scope: "col" }, `≤ ${count(edge)}`)));
  const top = Math.max(...shares.flat().map((share) => share ?? 0));
  const rows = data.input_edges.map((input, i) => h("tr", {}, h("th", { scope: "row" }, `≤ ${count(input)}`),
    data.output_edges.map((output, j) => cellFor(i, j, bar(shares[i][j], top)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "heat" }, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, rows)));
}

function bar(share, top) {
  if (!share) return null;
  return [
    h("span", { class: "share", "aria-hidden": "true", "--part": `${(share / top) * 100}%` }),
    h("span", { class: "hidden" }, ` ${percent(share)} of your requests`),
  ];
}

/** Where no figure stands: what the group cannot do and what nobody knows are told apart from 0, and from each other. */
function noFigure(value, foot) {
  const [kind, mark, text] = value === null
    ? ["cannot", "✕", "cannot serve within the targets"]
    : ["not-known", "?", "not known"];
  return h("td", { class: kind, title: text }, h("span", { "aria-hidden": "true" }, mark), h("span", { class: "hidden" }, text), foot);
}

function groupMap(data, names, shares, index) {
  const group = data.groups[index];
  // One scale for all groups, so that the same shade means the same figure.
  const values = data.groups.flatMap(({ requests_per_usd: rows }) => rows ?? []).flat().filter(isFigure);
  const shade = scale(values.filter((value) => value > 0));
  const table = grid(data, `${group.group}: requests per USD, by tokens of input and output`, shares, (i, j, foot) => {
    const value = cellOf(group, i, j);
    if (!isFigure(value)) return noFigure(value, foot);
    const title = `${amount(value)} requests per USD`;
    return h("td", { class: "figure", "--shade": `${shade(value) * 100}%`, title }, amount(value), foot);
  });
  const ramp = values.length
    ? h("li", {}, amount(Math.min(...values)), h("span", { class: "ramp", "aria-hidden": "true" }), amount(Math.max(...values)))
    : null;
  return [table, legend(ramp)];
}

/** 0 to 1 by the logarithm: costs of sizes differ by orders of magnitude. */
function scale(positive) {
  const [low, high] = [Math.log(Math.min(...positive)), Math.log(Math.max(...positive))];
  return (value) => (value > 0 ? (high > low ? (Math.log(value) - low) / (high - low) : 1) : 0);
}

function bestMap(data, names, shares) {
  const table = grid(data, "The group that serves most requests per USD, by tokens of input and output", shares, (i, j, foot) => {
    const ranked = data.groups
      .map((group, index) => ({ index, value: cellOf(group, i, j) }))
      .filter(({ value }) => isFigure(value))
      .sort((one, other) => other.value - one.value);
    if (!ranked.length) {
      return noFigure(data.groups.every((group) => cellOf(group, i, j) === null) ? null : undefined, foot);
    }
    const [first, second] = ranked;
    const times = second?.value > 0 ? first.value / second.value : null;
    return h("td", {
      class: `best colour-${first.index % COLOURS}`,
      "--lead": `${lead(times) * 100}%`,
      title: ranked.map(({ index, value }) => `${data.groups[index].group}: ${amount(value)} requests per USD`).join("\n"),
    }, h("strong", {}, names[first.index]), h("small", {}, `${amount(first.value)} per USD`),
    h("small", {}, times ? `${times.toFixed(2)}× the next` : "alone"), foot);
  });
  const keys = names.map((name, index) => h("li", {}, h("span", { class: `key colour-${index % COLOURS}`, "aria-hidden": "true" }), name));
  return [table, legend(...keys, h("li", {}, "stronger: the further ahead of the next"))];
}

/** How strongly a cell is coloured: at twice the next group's figure, or where no other serves it, fully. */
const lead = (times) => (times === null ? 1 : Math.min(Math.max(times - 1, 0), 1));

function legend(...first) {
  return h("ul", { class: "legend", "aria-label": "Legend" }, first,
    h("li", {}, h("span", { class: "key cannot", "aria-hidden": "true" }, "✕"), "cannot serve within the targets"),
    h("li", {}, h("span", { class: "key not-known", "aria-hidden": "true" }, "?"), "not known"));
}
