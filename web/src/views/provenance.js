import { h } from "../dom.js";
import { wordTable } from "../controls.js";
import { sentence } from "./overview.js";

export const provenance = {
  id: "provenance", title: "Provenance", lead: "What these numbers were made from, so that they can be made again.",
  available: () => true,
  render({ run }) {
    const sections = run.provenance.map((section) => h("details", { open: section.rows.length <= 14 }, h("summary", null, `${section.title} (${section.rows.length})`), wordTable(section, section.title.toLowerCase().replaceAll(" ", "_"))));
    const none = h("p", { class: "note" }, "The run wrote no manifest: where its numbers come from cannot be said.");
    return [sections.length ? sections : none, h("div", { class: "card caution" }, h("h3", null, "What may not be concluded"), h("ul", { class: "sentences" }, run.limits.map((line) => h("li", null, sentence(line)))))];
  },
};
