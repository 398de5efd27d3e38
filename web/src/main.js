// The page: a header, one section per view from top to bottom, drawn when it comes near the window or is asked for.

import { h } from "./dom.js";
import { force, forcedTheme, isDark } from "./theme.js";
import { inflate } from "./unpack.js";
import { onChoice, readHash, hashOf } from "./state.js";
import { WHOLE, chaptersOf, sectionsOf } from "./chapters.js";
import { picker } from "./controls.js";

async function start() {
  const index = JSON.parse(new TextDecoder().decode(await inflate("index")));
  const app = document.getElementById("app");
  let sections = [];
  let shown = "";

  const runsShown = () => chaptersOf(index).map((page) => index.runs.indexOf(page.run)).join();

  async function openRuns() {
    shown = runsShown();
    build(chaptersOf(index));
    await show(wanted());
  }

  function build(chapters) {
    sections = sectionsOf(chapters).map((part) => ({ ...part, body: h("div", { class: "body" }), drawn: false }));
    app.replaceChildren(header(chapters, sections), h("main", null, sections.map((part) => sectionOf(part, chapters.length > 1))), footer(index));
    const near = new IntersectionObserver((seen) => {
      for (const entry of seen) if (entry.isIntersecting) draw(sections.find((part) => part.body === entry.target));
      spy();
    }, { rootMargin: "500px 0px" });
    for (const part of sections) near.observe(part.body);
  }

  async function draw(part, again = false) {
    if (!part || (part.drawn && !again)) return;
    part.drawn = true;
    try {
      const nodes = await part.view.render(part.page);
      part.body.replaceChildren(...[nodes].flat(4).filter(Boolean));
    } catch (error) {
      part.body.replaceChildren(h("p", { class: "failed", role: "alert" }, `This view could not be drawn: ${error.message}`));
      throw error;
    }
  }

  const wanted = () => location.hash.slice(1).split("?")[0];

  async function show(id) {
    const part = sections.find((found) => found.id === id);
    if (!part) return;
    const place = sections.indexOf(part);
    await Promise.all(sections.slice(0, place + 1).map((found) => draw(found)));
    document.getElementById(id).scrollIntoView();
  }

  const drawAll = (again) => Promise.all(sections.map((part) => draw(part, again && part.drawn)));
  const redraw = () => Promise.all(sections.filter((part) => part.drawn).map((part) => draw(part, true)));

  function spy() {
    const line = innerHeight / 3;
    const at = sections.findLast((part) => document.getElementById(part.id)?.getBoundingClientRect().top < line);
    for (const link of app.querySelectorAll("nav a")) link.toggleAttribute("aria-current", at !== undefined && link.dataset.view === at.id);
  }

  onChoice((changed) => {
    if (changed.some((key) => /^run(_|$)/.test(key))) return openRuns();
    const held = document.activeElement?.dataset?.keep;
    return redraw().then(() => held && app.querySelector(`[data-keep="${CSS.escape(held)}"]`)?.focus({ preventScroll: true }));
  });
  addEventListener("hashchange", () => { readHash(); if (runsShown() !== shown) openRuns(); else redraw().then(() => show(wanted())); });
  addEventListener("scroll", spy, { passive: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let screen = null;
  addEventListener("beforeprint", () => { screen = forcedTheme(); force("light"); drawAll(true); });
  addEventListener("afterprint", () => { force(screen); redraw(); });
  app.addEventListener("retheme", () => { force(isDark() ? "light" : "dark"); redraw(); });
  app.addEventListener("print-all", async () => { await drawAll(false); print(); });

  readHash();
  await openRuns();
  document.documentElement.dataset.ready = "yes";
}

function header(chapters, sections) {
  const event = (name) => (e) => e.target.dispatchEvent(new CustomEvent(name, { bubbles: true }));
  const several = chapters.length > 1;
  const { run } = chapters[0];
  const link = ({ id, title, heading }) => h("a", { href: hashOf(id), "data-view": id, class: heading ? "chapter-link" : null, onclick: (e) => { e.currentTarget.href = hashOf(id); } }, title);
  return h("header", null,
    h("div", { class: "masthead" },
      h("div", null, h("p", { class: "kicker" }, "probeshift report"), h("h1", null, several ? "Does the direction still hold?" : h("bdi", null, run.name), !several && run.step && h("span", { class: "step" }, run.step))),
      h("div", { class: "tools" },
        chapters.filter(({ runs }) => runs.length > 1).map((page) => picker({ label: several ? page.run.title : "run", key: page.key, options: page.runs.map((r, i) => [i, r.name]), value: page.runs.indexOf(page.run) })),
        h("button", { type: "button", onclick: event("retheme"), title: "light or dark" }, "◐ theme"),
        h("button", { type: "button", onclick: event("print-all") }, "print"))),
    h("nav", { "aria-label": "views" }, sections.map(link)));
}

function sectionOf({ id, title, lead, body, heading }, several) {
  const name = several && !heading && !WHOLE.includes(id) ? "h3" : "h2";
  return h("section", { id, class: heading ? "chapter" : null, "aria-labelledby": `${id}-title` }, h(name, { id: `${id}-title`, class: "section-title" }, title), h("p", { class: "lead" }, lead), body);
}

function footer(index) {
  return h("footer", null, h("p", null, `Made by probeshift ${index.version}, ${index.made}. Values and intervals are those of the saved rows, kept to five decimals; nothing is fetched and nothing is sent.`));
}

start().catch((error) => {
  document.getElementById("app").replaceChildren(h("p", { class: "failed", role: "alert" }, `The report cannot be opened: ${error.message}. It needs a browser of 2023 or later.`));
  throw error;
});
