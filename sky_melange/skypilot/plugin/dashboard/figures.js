// What the plan costs, serves and promises: the texts of `sky-melange report`, as the server wrote them.

import { h, picture, section } from "./dom.js";

/** `figures`: those of the stored plan; null where an earlier release stored it. */
export function figuresOf(figures) {
  if (!figures) {
    return [h("p", { class: "note" }, "An earlier release stored this plan: the report has its figures.")];
  }
  const said = (texts, attributes = {}) => texts.map((text) => h("p", attributes, text));
  const beside = "with everything that has to run beside the model";
  return [
    h("div", { class: "stack" },
      h("p", { class: "bill" }, `USD ${figures.monthly} `, h("span", {}, "per month")),
      h("p", { class: "note" }, `USD ${figures.hourly} per hour, ${figures.when}, ${beside}. ${figures.proof}`),
      said(figures.missing, { class: "caveat" })),
    h("dl", { class: "tiles" }, figures.tiles.map(({ name, value, note }) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, note))))),
    h("div", { class: "stack prose" }, said([figures.why, ...figures.sentences])),
    figures.week ? section("When it runs", { note: WEEK }, picture(figures.week)) : null,
    figures.commitments.length ? section("What is committed", {}, said(figures.commitments)) : null,
    section("Does it keep its promise?", {}, said(figures.promise)),
    section("Bought elsewhere, and the climate", {}, said(figures.beyond)),
  ].filter(Boolean);
}

const WEEK = "Machines that run in each hour, the groups one above the other; the line is the traffic, as a share of the "
  + "busiest hour's.";
