// The page: a header, one section per view from top to bottom, drawn when it comes near the window or is asked for.

import { h } from "./dom.js";
import { force, forcedTheme, isDark } from "./theme.js";
import { inflate, openTable } from "./unpack.js";
import { choose, onChoice, readHash, state, hashOf } from "./state.js";
import { VIEWS } from "./views/index.js";
import { picker } from "./controls.js";

async function start() {
  const index = JSON.parse(new TextDecoder().decode(await inflate("index")));
  const app = document.getElementById("app");
  const page = { index, run: null, results: null };
  let sections = [];

  async function openRun() {
    page.run = index.runs[Number(state.run ?? 0)] ?? index.runs[0];
    page.results = null;
    page.open = () => (page.results ? Promise.resolve(page.results) : openTable(page.run.results).then((table) => (page.results = table)));
    build();
    await show(wanted());
  }

  function build() {
    const views = VIEWS.filter((view) => view.available(page));
    sections = views.map((view) => ({ view, body: h("div", { class: "body" }), drawn: false }));
    app.replaceChildren(header(page, views), h("main", null, sections.map(sectionOf)), footer(index));
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
      const nodes = await part.view.render(page);
      part.body.replaceChildren(...[nodes].flat(4).filter(Boolean));
    } catch (error) {
      part.body.replaceChildren(h("p", { class: "failed", role: "alert" }, `This view could not be drawn: ${error.message}`));
      throw error;
    }
  }

  const wanted = () => location.hash.slice(1).split("?")[0];

  async function show(id) {
    const part = sections.find((found) => found.view.id === id);
    if (!part) return;
    const place = sections.indexOf(part);
    await Promise.all(sections.slice(0, place + 1).map((found) => draw(found)));
    document.getElementById(id).scrollIntoView();
  }

  const drawAll = (again) => Promise.all(sections.map((part) => draw(part, again && part.drawn)));
  const redraw = () => Promise.all(sections.filter((part) => part.drawn).map((part) => draw(part, true)));

  function spy() {
    const line = innerHeight / 3;
    const at = sections.findLast((part) => document.getElementById(part.view.id)?.getBoundingClientRect().top < line);
    for (const link of app.querySelectorAll("nav a")) link.toggleAttribute("aria-current", at !== undefined && link.dataset.view === at.view.id);
  }

  onChoice((changed) => {
    if (changed.includes("run")) return openRun();
    const held = document.activeElement?.dataset?.keep;
    return redraw().then(() => held && app.querySelector(`[data-keep="${CSS.escape(held)}"]`)?.focus({ preventScroll: true }));
  });
  addEventListener("hashchange", () => { const before = page.run; readHash(); if (index.runs[Number(state.run ?? 0)] !== before) openRun(); else redraw().then(() => show(wanted())); });
  addEventListener("scroll", spy, { passive: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let screen = null;
  addEventListener("beforeprint", () => { screen = forcedTheme(); force("light"); drawAll(true); });
  addEventListener("afterprint", () => { force(screen); redraw(); });
  app.addEventListener("retheme", () => { force(isDark() ? "light" : "dark"); redraw(); });
  app.addEventListener("print-all", async () => { await drawAll(false); print(); });

  readHash();
  await openRun();
  document.documentElement.dataset.ready = "yes";
}

function header(page, views) {
  const { index, run } = page;
  const event = (name) => (e) => e.target.dispatchEvent(new CustomEvent(name, { bubbles: true }));
  return h("header", null,
    h("div", { class: "masthead" },
      h("div", null, h("p", { class: "kicker" }, "probeshift report"), h("h1", null, h("bdi", null, run.name), run.step && h("span", { class: "step" }, run.step))),
      h("div", { class: "tools" },
        index.runs.length > 1 && picker({ label: "run", key: "run", options: index.runs.map((r, i) => [i, r.name]), value: index.runs.indexOf(run) }),
        h("button", { type: "button", onclick: event("retheme"), title: "light or dark" }, "◐ theme"),
        h("button", { type: "button", onclick: event("print-all") }, "print"))),
    h("nav", { "aria-label": "views" }, views.map((view) => h("a", { href: hashOf(view.id), "data-view": view.id, onclick: (e) => { e.currentTarget.href = hashOf(view.id); } }, view.title))));
}

function sectionOf({ view, body }) {
  return h("section", { id: view.id, "aria-labelledby": `${view.id}-title` }, h("h2", { id: `${view.id}-title` }, view.title), h("p", { class: "lead" }, view.lead), body);
}

function footer(index) {
  return h("footer", null, h("p", null, `Made by probeshift ${index.version}, ${index.made}. Values and intervals are those of the saved rows, kept to five decimals; nothing is fetched and nothing is sent.`));
}

start().catch((error) => {
  document.getElementById("app").replaceChildren(h("p", { class: "failed", role: "alert" }, `The report cannot be opened: ${error.message}. It needs a browser of 2023 or later.`));
  throw error;
});
