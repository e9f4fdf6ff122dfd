// What SkyServe runs, beside what the plan asks for.

import { badge, button, errorBox, h, section, table, unknown, waiting } from "./dom.js";
import { count, moment } from "./format.js";

/** The section; it fills itself. */
export function replicasSection(page, id, name) {
  const body = h("div", { class: "stack" });
  const refresh = button("Refresh", () => load(), { "aria-label": "Refresh running replicas" });
  async function load() {
    refresh.disabled = true;
    body.replaceChildren(waiting("Asking SkyServe…"));
    try {
      body.replaceChildren(...report(await page.api.replicas(id, name)));
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

/** Replicas that start or end have machines too: what is more than planned costs more. */
function verdict({ planned, ready, total, reason }) {
  if (ready === null || ready === undefined) return unknown(reason ?? "SkyServe did not say");
  const running = Math.max(total ?? 0, ready);
  const parts = [
    running > planned ? `${count(running - planned)} more than planned` : null,
    running < planned ? `${count(planned - running)} missing` : null,
    ready < Math.min(running, planned) ? `${count(Math.min(running, planned) - ready)} not ready` : null,
  ].filter(Boolean);
  return parts.length ? badge("warn", parts.join(", ")) : badge("good", "as planned");
}
