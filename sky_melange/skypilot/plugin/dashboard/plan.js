// One stored plan, be it of a fleet: what it costs, its groups, the heat map, what runs, and the check.

import { checkSection } from "./check.js";
import { button, errorBox, h, section, table, waiting } from "./dom.js";
import { fleetParts, heading } from "./fleet.js";
import { figuresOf } from "./figures.js";
import { count, percent, plural, usd } from "./format.js";
import { heatMap } from "./heatmap.js";
import { priceAge } from "./list.js";
import { mixSection } from "./mix.js";
import { replicasSection } from "./replicas.js";

/** Shows the plan or fleet of this id, or the plan of that name in it; or why it cannot be shown. */
export async function showPlan(page, id, name) {
  const trail = h("nav", { "aria-label": "Breadcrumb", class: "trail" }, page.link("", "Mélange"));
  page.body.replaceChildren(trail, waiting("Loading the plan…"));
  try {
    const stored = await page.api.plan(id, name);
    if (name) trail.append(mark(), page.link(id, stored.name.slice(0, -name.length - 2)));
    trail.append(mark(), h("span", { "aria-current": "page" }, name ?? stored.name));
    page.body.replaceChildren(trail, ...(stored.fleet ? fleetParts(page, stored) : partsOf(page, stored, name)));
  } catch (error) {
    if (page.signal.aborted) return;
    const again = button("Try again", () => showPlan(page, id, name));
    page.body.replaceChildren(trail, errorBox("The plan could not be loaded", error), h("p", {}, again));
  }
}

const mark = () => h("span", { "aria-hidden": "true" }, " › ");

function partsOf(page, stored, name) {
  const { plan } = stored;
  const caveats = [["Warnings of the plan", plan.warnings], ["Taken for granted", plan.assumptions]];
  return [
    heading(page, stored, stored.plan.model.id, name),
    ...figuresOf(stored.figures),
    groupsSection(plan),
    mixSection(plan, stored),
    heatSection(stored),
    replicasSection(page, stored.id, name),
    checkSection(page, stored.id, name),
    ...caveats.filter(([, notes]) => notes?.length).map(([title, notes]) =>
      h("details", {}, h("summary", {}, `${title} (${notes.length})`), h("ul", {}, notes.map((note) => h("li", {}, note))))),
  ].filter(Boolean);
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
