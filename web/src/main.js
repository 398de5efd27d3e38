// The page: a header, one section per view from top to bottom; the first is drawn at once, others when they come near the window, are asked
// for, or the page is idle.

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
    await draw(sections[0]).catch(reportError);
    await show(wanted());
    drawRest();
  }

  function build(chapters) {
    sections = sectionsOf(chapters).map((part) => ({ ...part, body: h("div", { class: "body" }), stale: true, turn: 0 }));
    app.replaceChildren(header(chapters, sections), h("main", null, sections.map((part) => sectionOf(part, chapters.length > 1))), footer(index));
    const near = new IntersectionObserver((seen) => {
      for (const entry of seen) if (entry.isIntersecting) draw(sections.find((part) => part.body === entry.target));
      spy();
    }, { rootMargin: "500px 0px" });
    for (const part of sections) near.observe(part.body);
  }

  async function draw(part) {
    if (!part?.stale) return;
    part.stale = false;
    const turn = ++part.turn;
    try {
      const nodes = await part.view.render(part.page);
      if (turn === part.turn) part.body.replaceChildren(...[nodes].flat(4).filter(Boolean));
    } catch (error) {
      if (turn === part.turn) part.body.replaceChildren(h("p", { class: "failed", role: "alert" }, `This view could not be drawn: ${error.message}`));
      throw error;
    }
  }

  const wanted = () => location.hash.slice(1).split("?")[0];

  async function show(id) {
    const part = sections.find((found) => found.id === id);
    if (!part) return;
    const place = sections.indexOf(part);
    await Promise.all(sections.slice(0, place + 1).map((found) => draw(found).catch(reportError)));
    document.getElementById(id).scrollIntoView();
  }

  const drawAll = () => Promise.all(sections.map(draw));
  const within = ({ body }, margin) => { const { top, bottom } = body.getBoundingClientRect(); return bottom > -margin && top < innerHeight + margin; };
  const isNear = (part) => within(part, 500);
  const isSeen = (part) => within(part, -100);

  /** What is near the window now, the rest afterwards. */
  const redraw = async () => {
    for (const part of sections) part.stale = true;
    await Promise.all(sections.filter(isNear).map((part) => draw(part).catch(reportError)));
    drawRest();
  };

  /** One view after another while the page is idle, so that printing and searching find all of them. */
  async function drawRest() {
    const mine = sections;
    for (const part of mine) {
      if (part.stale) await idle();
      if (mine !== sections) return;
      await draw(part).catch(reportError);
    }
  }

  function spy() {
    const line = innerHeight / 3;
    const at = sections.findLast((part) => document.getElementById(part.id)?.getBoundingClientRect().top < line);
    for (const link of app.querySelectorAll("nav a")) at !== undefined && link.dataset.view === at.id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }

  onChoice(async (changed, name) => {
    if (changed.some((key) => /^run(_|$)/.test(key))) return openRuns();
    const held = document.activeElement?.dataset?.keep;
    await redraw();
    const part = name && sections.find(({ id }) => id === name);
    if (part && !isSeen(part)) return show(name);
    if (held) app.querySelector(`[data-keep="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  });
  addEventListener("hashchange", () => { readHash(); if (runsShown() !== shown) openRuns(); else redraw().then(() => show(wanted())); });
  addEventListener("scroll", spy, { passive: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let screen = null;
  addEventListener("beforeprint", () => { screen = forcedTheme(); force("light"); for (const part of sections) part.stale = true; drawAll(); });
  addEventListener("afterprint", () => { force(screen); redraw(); });
  app.addEventListener("retheme", () => { force(isDark() ? "light" : "dark"); redraw(); });
  app.addEventListener("print-all", async () => { await drawAll(); print(); });

  readHash();
  await openRuns();
  document.documentElement.dataset.ready = "yes";
}

const idle = () => new Promise((done) => window.requestIdleCallback ? requestIdleCallback(() => done(), { timeout: 500 }) : setTimeout(done, 50));

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
