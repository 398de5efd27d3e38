import { foreign, h } from "../dom.js";
import { hashOf } from "../state.js";

export const overview = {
  id: "overview", title: "Overview", lead: "What was asked, what came out, and what it does not show.",
  available: () => true,
  render({ run, chapters }) {
    return h("div", { class: "overview" }, chapters.length > 1 ? several(chapters) : one(run));
  },
};

/** The introduction of a page with several kinds of runs: one question and its answer after another. */
function several(chapters) {
  const part = ({ run }, i) => h("div", { class: "card wide" },
    h("h3", null, linked(run, i)), run.asked && h("p", { class: "asked" }, run.asked), sentences(run.found.slice(1)));
  const answer = ({ run }, i) => run.found.length > 0 && h("li", null, linked(run, i), ". ", sentence(run.found[0]));
  return [
    h("div", { class: "card wide" }, h("h3", null, "One question"),
      h("p", null, "Inside a language model, what is being read is a point in a space of activations. A ", h("em", null, "direction"), " in that space was found that goes with something in the text. This page shows whether it still does when one thing changes between finding it and trying it. Each part asks that of another change. In short:"),
      h("ul", { class: "answers" }, chapters.map(answer))),
    chapters.map(part),
    reading(),
    h("div", { class: "card caution" }, h("h3", null, "What may not be concluded"), sentences([...new Set([chapters[0].run.limits[0], "An interval says how far a number would move with other questions of the same kind; it says nothing on other sets, seeds or models. Each part names its own limits."])])),
  ];
}

const linked = (run, i) => h("a", { href: hashOf(`about-${run.kind || "run"}`) }, `${i + 1}. ${run.title}`);

function one(run) {
  return [
    run.found.length > 0 && h("div", { class: "card wide" }, h("h3", null, "What was asked, and what came out"), run.asked && h("p", { class: "asked" }, run.asked), sentences(run.found)),
    h("div", { class: "card facts" }, h("h3", null, "What was measured"), facts(run)),
    reading(),
    words(run),
    h("div", { class: "card wide caution" }, h("h3", null, "What may not be concluded"), sentences(run.limits)),
  ];
}

const reading = () => h("div", { class: "card" }, h("h3", null, "How to read the pictures"), h("ul", { class: "sentences" },
  h("li", null, "A direction is found on one set (train) and tried on another (test). Nothing is re-fitted there."),
  h("li", null, "The colour of a cell is pale at chance, violet above it, brown below it. Chance differs between sets: half for pairs, a quarter for four choices."),
  h("li", null, "Every value has a 95 % interval and the number of questions or rows behind it. A hatched cell's interval holds chance."),
  h("li", null, "Click a cell, or move with the arrow keys and press Enter, for its numbers, its scores and the texts it gets most wrong.")));

/** Pairs of words on what there is of models, methods, sets, layers. */
export const facts = (run) => h("dl", null, run.facts.map(([name, value]) => [h("dt", null, name), h("dd", null, foreign(value))]));

/** What the run itself wrote down. */
export const words = (run) => [
  run.reading.length > 0 && h("div", { class: "card wide" }, h("h3", null, "What the run says"), sentences(run.reading)),
  run.written && h("details", { class: "card wide", open: !run.reading.length && !run.found.length }, h("summary", null, "The run's own report"), h("pre", { tabindex: 0 }, run.written)),
];

export const sentences = (lines) => h("ul", { class: "sentences" }, lines.map((line) => h("li", null, sentence(line))));

/** Text between backquotes in the type of code; everything stays text. */
export const sentence = (line) => line.split("`").map((part, i) => (i % 2 ? h("code", null, part) : foreign(part, "")));
