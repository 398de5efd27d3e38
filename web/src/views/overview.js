import { foreign, h } from "../dom.js";

export const overview = {
  id: "overview", title: "Overview", lead: "What was measured, what it says, and what it does not.",
  available: () => true,
  render({ run }) {
    const list = (lines) => h("ul", { class: "sentences" }, lines.map((line) => h("li", null, sentence(line))));
    return h("div", { class: "overview" },
      h("div", { class: "card facts" }, h("h3", null, "What was measured"), h("dl", null, run.facts.map(([name, value]) => [h("dt", null, name), h("dd", null, foreign(value))]))),
      h("div", { class: "card" }, h("h3", null, "How to read the pictures"), h("ul", { class: "sentences" },
        h("li", null, "A direction is found on one set (train) and tried on another (test). Nothing is re-fitted there."),
        h("li", null, "The colour of a cell is pale at chance, violet above it, brown below it. Chance differs between sets: half for pairs, a quarter for four choices."),
        h("li", null, "Every value has a 95 % interval and the number of questions or rows behind it. A hatched cell's interval holds chance."),
        h("li", null, "Click a cell, or move with the arrow keys and press Enter, for its numbers, its scores and the texts it gets most wrong."))),
      run.reading.length > 0 && h("div", { class: "card wide" }, h("h3", null, "What the run says"), list(run.reading)),
      run.written && h("details", { class: "card wide", open: !run.reading.length }, h("summary", null, "The run's own report"), h("pre", { tabindex: 0 }, run.written)),
      h("div", { class: "card wide caution" }, h("h3", null, "What may not be concluded"), list(run.limits)));
  },
};

/** Text between backquotes in the type of code; everything stays text. */
export const sentence = (line) => line.split("`").map((part, i) => (i % 2 ? h("code", null, part) : foreign(part, "")));
