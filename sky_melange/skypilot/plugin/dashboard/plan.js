// One stored plan: what it costs, its groups, the heat map, what runs, and the check.

import { checkSection } from "./check.js";
import { button, errorBox, h, section, table, waiting } from "./dom.js";
import { figuresOf } from "./figures.js";
import { count, percent, plural, usd } from "./format.js";
import { heatMap } from "./heatmap.js";
import { deleteDialog, priceAge } from "./list.js";
import { mixSection } from "./mix.js";
import { replicasSection } from "./replicas.js";

/** Shows the plan of this id, or why it cannot be shown. */
export async function showPlan(page, id) {
  const trail = h("nav", { "aria-label": "Breadcrumb", class: "trail" }, page.link("", "Mélange"));
  page.body.replaceChildren(trail, waiting("Loading the plan…"));
  try {
    const stored = await page.api.plan(id);
    trail.append(h("span", { "aria-hidden": "true" }, " › "), h("span", { "aria-current": "page" }, stored.name));
    page.body.replaceChildren(trail, ...partsOf(page, stored));
  } catch (error) {
    if (page.signal.aborted) return;
    const again = button("Try again", () => showPlan(page, id));
    page.body.replaceChildren(trail, errorBox("The plan could not be loaded", error), h("p", {}, again));
  }
}

function partsOf(page, stored) {
  const { plan } = stored;
  const caveats = [["Warnings of the plan", plan.warnings], ["Taken for granted", plan.assumptions]];
  return [
    heading(page, stored),
    ...figuresOf(stored.figures),
    groupsSection(plan),
    mixSection(plan, stored),
    heatSection(stored),
    replicasSection(page, stored.id),
    checkSection(page, stored.id),
    ...caveats.filter(([, notes]) => notes?.length).map(([title, notes]) =>
      h("details", {}, h("summary", {}, `${title} (${notes.length})`), h("ul", {}, notes.map((note) => h("li", {}, note))))),
  ].filter(Boolean);
}

function heading(page, stored) {
  const owner = stored.owner ? ` · stored by ${stored.owner}` : "";
  return h("header", {},
    h("h1", {}, stored.name),
    h("p", { class: "note" }, `${stored.plan.model.id}${owner}`),
    h("div", { class: "actions" },
      h("a", { class: "button", href: page.api.reportAddress(stored.id), target: "_blank", rel: "noopener" }, "Report"),
      button("Delete", () => deleteDialog(page, stored, () => page.open("")), { kind: "danger" })));
}

const replicasOf = (group) => group.instances * group.replicas_per_instance;

function groupsSection(plan) {
  const columns = [
    { head: "Group", cell: (group) => group.name },
    { head: "Accelerator", cell: (group) => `${group.accelerators_per_instance} × ${group.accelerator}` },
    { head: "Where", cell: (group) => [place(group), h("small", {}, group.instance_type)] },
    { head: "Replicas", number: true, cell: (group) => [count(replicasOf(group)), onMachines(group)] },
    { head: "USD per hour each", number: true, cell: (group) => usd(group.price_usd_per_hour) },
    { head: "USD per hour", number: true, cell: (group) => usd(group.cost_usd_per_hour) },
    { head: "Utilisation", cell: (group) => load(group.utilization) },
    { head: "Price of", cell: (group) => [priceAge(group.price.fetched_at)] },
    { head: "Throughput", cell: (group) => throughput(group.profile) },
  ];
  const overhead = plan.overhead.length
    ? `Beside them: ${plan.overhead.map((machine) => `${machine.purpose} (${machine.instance_type ?? "chosen at launch"}, `
      + `${usd(machine.price_usd_per_hour)} USD per hour)`).join(", ")}.`
    : null;
  return section("Groups", { note: overhead }, table({ caption: "Groups", columns, rows: plan.groups }));
}

const place = (group) => `${group.cloud} ${group.zone ?? group.region}${group.use_spot ? ", spot" : ""}`;

function onMachines(group) {
  return group.replicas_per_instance > 1 ? h("small", {}, `on ${plural(group.instances, "machine")}`) : null;
}

function load(fraction) {
  return h("span", { class: "load" },
    h("span", { class: "track", "aria-hidden": "true" }, h("span", { "--part": `${Math.min(fraction, 1) * 100}%` })),
    percent(fraction));
}

function throughput(profile) {
  return profile ? [profile.kind, profile.error?.request_rate_fraction ? h("small", {}, within(profile.error)) : null]
    : "unknown";
}

/** Of the predicted request rate, in 4 of 5 cases: `ProfileError.request_rate_within`. */
function within({ request_rate_fraction: fraction, request_rate_interval: interval }) {
  const end = (1 + fraction) ** Math.log2(5);
  const [low, high] = (interval ?? [1 / end, end]).map((share) => Math.round(100 * (share - 1)));
  return `${low}…+${high}%`;
}

function heatSection(stored) {
  const note = "Requests that one USD buys, by size: the more, the better the group suits them. The bar at a cell's foot is "
    + "the share of your requests that have this size.";
  return section("Requests per dollar", { note }, heatMap(stored.requests_per_usd, stored.plan.workload?.traffic));
}
