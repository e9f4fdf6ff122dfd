// A stored fleet: what all cost together, the budget, the workloads with their plans, and what they share.

import { button, h, section, table } from "./dom.js";
import { deleteDialog } from "./list.js";

/** The parts of a fleet's page: the texts of `sky-melange report`, as the server wrote them. */
export function fleetParts(page, stored) {
  const { fleet_figures: figures } = stored;
  const said = (texts, attributes = {}) => texts.map((text) => h("p", attributes, text));
  return [
    heading(page, stored, figures.title),
    h("div", { class: "stack" },
      h("p", { class: "bill" }, `USD ${figures.monthly} `, h("span", {}, "per month")),
      h("p", { class: "note" }, `USD ${figures.hourly} per hour${figures.mean}, with everything that has to run beside the `
        + `models. ${figures.proof}`),
      said(figures.missing, { class: "caveat" })),
    figures.sentences.length ? h("div", { class: "stack prose" }, said(figures.sentences)) : null,
    section("Workloads", {}, table({ caption: "Workloads", columns: workloads(page, stored.id), rows: figures.member_rows })),
    figures.shared_rows.length
      ? section("What is shared", {}, table({ caption: "What is shared", columns: SHARED, rows: figures.shared_rows }))
      : null,
    figures.warnings.length ? section("What to watch in all together", {}, said(figures.warnings, { class: "caveat" })) : null,
  ].filter(Boolean);
}

/** A heading with what may be done. What is done to a fleet is done to all of it: its plans have no Delete. */
export function heading(page, stored, subject, name) {
  const owner = stored.owner ? ` · stored by ${stored.owner}` : "";
  const href = page.api.reportAddress(stored.id, name);
  return h("header", {},
    h("h1", {}, stored.name),
    h("p", { class: "note" }, `${subject}${owner}`),
    h("div", { class: "actions" },
      h("a", { class: "button", href, target: "_blank", rel: "noopener" }, "Report"),
      name ? null : button("Delete", () => deleteDialog(page, stored, () => page.open("")), { kind: "danger" })));
}

const lines = (text) => text.split("\n").map((line) => h("div", {}, line));
const text = (head, place, number = false) => ({ head, number, cell: (row) => (row[place] ? lines(row[place]) : "–") });

const workloads = (page, id) => [
  { head: "Workload", cell: ([name]) => page.linkToPart(id, name) },
  text("What", 1),
  text("Where", 2),
  text("USD per hour", 3, true),
  text("Alone", 4, true),
  text("Traffic", 5, true),
  text("Held", 6, true),
];

const SHARED = [
  text("Quota", 0),
  text("Used", 1, true),
  text("Of", 2, true),
  text("By", 3),
  text("One more saves", 4, true),
];
