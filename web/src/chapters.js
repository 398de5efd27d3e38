// A page of several kinds of runs is read as chapters, one kind after another; a page of one kind has one chapter and no headings.

import { h } from "./dom.js";
import { chosen } from "./state.js";
import { openTable } from "./unpack.js";
import { OF_KIND, VIEWS } from "./views/index.js";
import { facts, sentences, words } from "./views/overview.js";

const ORDER = ["dataset", "mixture", "position", "model", "steering", ""];
/** Views of the whole page rather than of a chapter. */
export const WHOLE = ["overview", "compare", "tables", "provenance"];

/** The chapters of a page: runs of one kind each, with the run that is shown. */
export function chaptersOf(index) {
  const kinds = ORDER.filter((kind) => index.runs.some((run) => run.kind === kind));
  return kinds.map((kind) => {
    const runs = index.runs.filter((run) => run.kind === kind);
    const key = kinds.length === 1 ? "run" : `run_${kind}`;
    const run = runs[Number(chosen(key, runs.map((_, i) => i), 0))];
    const page = { index, run, runs, key, results: null };
    page.open = () => (page.results ? Promise.resolve(page.results) : openTable(run.results).then((table) => (page.results = table)));
    return page;
  });
}

/** The sections of the page in reading order: { id, title, lead, page, view, heading }. */
export function sectionsOf(chapters) {
  const [first] = chapters;
  const whole = (view) => ({ id: view.id, title: view.title, lead: view.lead, page: { ...first, chapters }, view });
  if (chapters.length === 1) return VIEWS.filter((view) => view.available(first)).map(whole);
  const [overview, ...rest] = VIEWS.filter((view) => WHOLE.includes(view.id) && view.available(first));
  return [whole(overview), ...chapters.flatMap((page, i) => chapter(page, i, chapters)), ...rest.map(whole)];
}

function chapter(page, place, chapters) {
  const { kind, title, asked } = page.run;
  const views = (OF_KIND[kind] ?? VIEWS.filter((view) => !WHOLE.includes(view.id))).filter((view) => view.available(page));
  const before = chapters.slice(0, place).flatMap((other) => (OF_KIND[other.run.kind] ?? []).filter((view) => view.available(other)));
  const heading = { id: about(kind), title: `${place + 1}. ${title}`, lead: asked, page, heading: true, view: { render: opening } };
  return [heading, ...views.map((view) => ({ id: before.includes(view) ? `${view.id}-${kind}` : view.id, title: view.title, lead: view.lead, page, view }))];
}

export const about = (kind) => `about-${kind || "run"}`;

function opening({ run }) {
  return [
    h("div", { class: "card caution" }, h("h3", null, "What may not be concluded here"), sentences(run.limits)),
    h("details", { class: "card" }, h("summary", null, "What was measured, and the run's own report"), facts(run), words(run)),
  ];
}
