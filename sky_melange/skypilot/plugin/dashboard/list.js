// The stored plans, and the dialogs that make and delete one.

import { button, errorBox, h, openDialog, section, table, waiting } from "./dom.js";
import { cents, count, dated, moment, plural, usd } from "./format.js";

/** Shows the list; its buttons stay where they are while it is loaded anew. */
export async function showList(page) {
  const content = h("div", { class: "stack" });
  let turn = 0;
  const reload = () => {
    const mine = ++turn;
    return fill(page, content, reload, () => mine === turn && !page.signal.aborted);
  };
  page.body.replaceChildren(
    h("header", {},
      h("h1", {}, "Mélange"),
      h("p", { class: "note" }, "Plans: which GPUs serve your traffic within its latency targets for the least money."),
      h("div", { class: "actions" },
        button("Refresh", reload),
        button("New plan", () => createDialog(page), { kind: "primary" }))),
    content);
  await reload();
}

async function fill(page, content, reload, isCurrent) {
  content.replaceChildren(waiting("Loading the stored plans…"));
  let found;
  try {
    const { plans } = await page.api.plans();
    found = plans.length ? plansTable(page, plans, reload) : empty(page);
  } catch (error) {
    found = errorBox("The stored plans could not be loaded", error);
  }
  if (isCurrent()) content.replaceChildren(found);
}

function empty(page) {
  return h("div", { class: "empty" },
    h("p", {}, h("strong", {}, "No plans are stored yet.")),
    h("p", {}, "Paste a workload.yaml to make one: your model, its traffic and its latency targets."),
    button("New plan", () => createDialog(page), { kind: "primary" }));
}

function plansTable(page, plans, reload) {
  const columns = [
    { head: "Name", cell: (plan) => [page.link(plan.id, plan.name), fleetNote(plan)] },
    { head: "Model", cell: (plan) => plan.model },
    { head: "USD per hour", number: true, cell: (plan) => usd(plan.usd_per_hour) },
    { head: "USD per month", number: true, cell: (plan) => cents(plan.usd_per_month) },
    { head: "Worst case per hour", number: true, cell: (plan) => usd(plan.worst_case_usd_per_hour) },
    { head: "Groups", number: true, cell: (plan) => count(plan.groups) },
    { head: "Replicas", number: true, cell: (plan) => count(plan.replicas) },
    { head: "Prices of", cell: (plan) => priceAge(plan.priced_at) },
    { head: "Owner", cell: (plan) => plan.owner ?? "–" },
    { head: "Changed", cell: (plan) => h("time", { datetime: plan.updated_at }, moment(plan.updated_at)) },
    {
      head: h("span", { class: "hidden" }, "Actions"),
      cell: (plan) => button("Delete", () => deleteDialog(page, plan, reload), {
        kind: "danger", "aria-label": `Delete ${plan.name}`,
      }),
    },
  ];
  return section("Stored plans", {}, table({ caption: "Stored plans", columns, rows: plans }));
}

const fleetNote = ({ workloads }) => (workloads ? h("small", {}, `fleet of ${plural(workloads, "workload")}`) : null);

/** The date of a price and its age. */
export function priceAge(iso) {
  const at = dated(iso);
  return at ? [h("time", { datetime: iso }, at.date), h("small", {}, at.age)] : "unknown";
}

/** Asks, deletes and calls `done`. */
export function deleteDialog(page, { id, name }, done) {
  const said = h("div");
  const dialog = openDialog(page.root, "Delete this plan?",
    h("p", {}, h("strong", {}, name), " will be gone from this server. What is running goes on running."),
    said,
    h("div", { class: "actions" },
      button("Keep it", () => dialog.close()),
      button("Delete", (event) => remove(event.currentTarget), { kind: "danger solid" })));
  async function remove(pressed) {
    pressed.disabled = true;
    said.replaceChildren(waiting("Deleting…"));
    try {
      await page.api.remove(id);
      dialog.close();
      done();
    } catch (error) {
      pressed.disabled = false;
      said.replaceChildren(errorBox("It was not deleted", error));
    }
  }
}

const EXAMPLE = `version: 1
name: chat
model: {id: meta-llama/Llama-3.1-8B-Instruct}
…`;

function createDialog(page) {
  const name = h("input", { id: "melange-name", required: true, maxlength: "100", autocomplete: "off" });
  const text = h("textarea", {
    id: "melange-workload", required: true, rows: "14", spellcheck: "false", placeholder: EXAMPLE,
  });
  const file = h("input", {
    id: "melange-file", type: "file", accept: ".yaml,.yml",
    change: async () => { if (file.files[0]) text.value = await file.files[0].text(); },
  });
  const workloads = h("input", { id: "melange-workloads", type: "file", accept: ".yaml,.yml", multiple: true });
  const said = h("div");
  const submit = h("button", { type: "submit", class: "button primary" }, "Plan and store");
  const form = h("form", { submit: (event) => { event.preventDefault(); create(); } },
    h("label", { for: name.id }, "Name (letters, digits, spaces and . _ -)"), name,
    h("label", { for: text.id }, "Workload (the text of a workload.yaml, or of a fleet.yaml)"), text,
    h("label", { for: file.id }, "or take it from a file"), file,
    h("label", { for: workloads.id }, "Of a fleet: the files of its workloads"), workloads,
    said,
    h("div", { class: "actions" }, button("Cancel", () => dialog.close()), submit));
  const dialog = openDialog(page.root, "New plan", form);
  async function create() {
    submit.disabled = true;
    said.replaceChildren(waiting("Planning: prices are read and the cheapest mix is searched for…"));
    try {
      const files = await Promise.all([...workloads.files].map(async (each) => [each.name, await each.text()]));
      const texts = files.length ? { fleet_file: text.value, workloads: Object.fromEntries(files) } : { workload: text.value };
      const stored = await page.api.create(name.value, texts);
      dialog.close();
      page.open(stored.id);
    } catch (error) {
      submit.disabled = false;
      if (!page.signal.aborted) said.replaceChildren(errorBox("No plan was stored", error));
    }
  }
}
