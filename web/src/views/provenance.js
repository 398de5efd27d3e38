import { h } from "../dom.js";
import { wordTable } from "../controls.js";
import { sentences } from "./overview.js";

export const provenance = {
  id: "provenance", title: "Provenance", lead: "What these numbers were made from, so that they can be made again.",
  available: () => true,
  render({ chapters }) {
    if (chapters.length === 1) return [ofRun(chapters[0].run, true), h("div", { class: "card caution" }, h("h3", null, "What may not be concluded"), sentences(chapters[0].run.limits))];
    return chapters.map(({ run }) => h("details", { class: "card" }, h("summary", null, `${run.title}: ${run.name}`), ofRun(run, false)));
  },
};

function ofRun(run, open) {
  const sections = run.provenance.map((section) => h("details", { open: open && section.rows.length <= 14 }, h("summary", null, `${section.title} (${section.rows.length})`), wordTable(section, section.title.toLowerCase().replaceAll(" ", "_"))));
  return sections.length ? sections : h("p", { class: "note" }, "The run wrote no manifest: where its numbers come from cannot be said.");
}
