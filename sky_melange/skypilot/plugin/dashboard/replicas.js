// What SkyServe runs, beside what the plan asks for.

import { badge, button, errorBox, h, section, table, unknown, waiting } from "./dom.js";
import { count, moment } from "./format.js";

/** The section; it fills itself. */
export function replicasSection(page, id) {
  const body = h("div", { class: "stack" });
  const refresh = button("Refresh", () => load(), { "aria-label": "Refresh running replicas" });
  async function load() {
    refresh.disabled = true;
    body.replaceChildren(waiting("Asking SkyServe…"));
    try {
      body.replaceChildren(...report(await page.api.replicas(id)));
    } catch (error) {
      if (!page.signal.aborted) body.replaceChildren(errorBox("What is running is not known", error));
    }
    refresh.disabled = false;
  }
  load();
  return section("Running replicas", { actions: refresh }, body);
}

function report({ groups, observed_at: observedAt }) {
  const columns = [
    { head: "Group", cell: (row) => row.group },
    { head: "Service", cell: (row) => row.service ?? "–" },
    { head: "Planned", number: true, cell: (row) => count(row.planned) },
    { head: "Ready", number: true, cell: (row) => figureOf(row.ready) },
    { head: "Running in all", number: true, cell: (row) => figureOf(row.total) },
    { head: "Against the plan", cell: verdict },
    { head: "Service status", cell: (row) => row.status ?? "–" },
  ];
  return [
    table({ caption: "Running replicas", columns, rows: groups }),
    h("p", { class: "note" }, observedAt ? `By SkyServe's own state on this server, ${moment(observedAt)}.` : null),
  ];
}

const figureOf = (value) => (value === null || value === undefined ? unknown() : count(value));

function verdict({ planned, ready, reason }) {
  if (ready === null || ready === undefined) return unknown(reason ?? "SkyServe did not say");
  if (ready === planned) return badge("good", "as planned");
  return ready < planned ? badge("warn", `${count(planned - ready)} missing`) : badge("warn", `${count(ready - planned)} more`);
}
