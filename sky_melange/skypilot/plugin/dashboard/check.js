// The budget gate, run on the server at today's prices.

import { badge, button, errorBox, h, section, table, waiting } from "./dom.js";
import { figure } from "./format.js";

const KINDS = { pass: "good", fail: "bad", skipped: "quiet" };

/** The section: a button, and what the last run found. */
export function checkSection(page, id, name) {
  const body = h("div", { class: "stack", "aria-live": "polite" },
    h("p", { class: "note" }, "Does this plan still hold, at today's prices? Nothing has been checked on this page yet."));
  const run = button("Run check", () => check(), { kind: "primary" });
  async function check() {
    run.disabled = true;
    body.replaceChildren(waiting("Pricing the plan again…"));
    try {
      body.replaceChildren(...report(await page.api.check(id, name)));
    } catch (error) {
      if (!page.signal.aborted) body.replaceChildren(errorBox("The check could not run", error));
    }
    run.disabled = false;
  }
  return section("Check", { actions: run }, body);
}

function report(found) {
  const columns = [
    { head: "Check", cell: (check) => check.name },
    { head: "Result", cell: (check) => badge(KINDS[check.verdict] ?? "warn", check.verdict) },
    { head: "Figure", number: true, cell: (check) => `${check.figure_is_lower_bound ? "≥ " : ""}${figure(check.figure, check.unit)}` },
    { head: "Limit", number: true, cell: (check) => figure(check.limit, check.unit) },
    { head: "What it says", cell: (check) => [check.says, details(check.details)] },
  ];
  const order = { fail: 0, pass: 1, skipped: 2 };
  const rows = [...found.checks].sort((one, other) => (order[one.verdict] ?? 0) - (order[other.verdict] ?? 0));
  return [
    h("p", { class: "verdict" }, badge(KINDS[found.verdict] ?? "warn", found.verdict), " ", found.summary),
    table({ caption: "Findings of the check", columns, rows }),
    found.warnings?.length
      ? h("details", {}, h("summary", {}, `Warnings of the check (${found.warnings.length})`),
        h("ul", {}, found.warnings.map((warning) => h("li", {}, warning))))
      : null,
  ].filter(Boolean);
}

function details(lines) {
  return lines?.length ? h("ul", {}, lines.map((line) => h("li", {}, line))) : null;
}
