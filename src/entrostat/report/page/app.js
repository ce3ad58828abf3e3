"use strict";
// The page from its data: verdict, charts, tokens, configuration; the theme; and, where a server is behind it, news.

const SECTIONS = [["verdict", "Verdict"], ["charts", "Charts"], ["tokens", "Tokens"], ["configuration", "Configuration"]];
const state = { tokens: null, version: null };

function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = (on) => { root.dataset.theme = on ? "dark" : "light"; button.setAttribute("aria-pressed", String(on)); };
  apply(dark.matches);
  let own = false;
  dark.addEventListener("change", () => { if (!own) apply(dark.matches); });
  button.addEventListener("click", () => { own = true; apply(root.dataset.theme !== "dark"); });
}

function last(content, id, run) {
  const chart = content.charts.find((one) => one.id === id);
  const series = chart?.series.filter((one) => one.run === run && one.y && !one.thin && one.color !== "target").pop();
  const values = series?.y.filter((value) => value !== null) || [];
  const what = chart?.series.some((one) => one.run === run && one.thin) ? "start and end of its trend" : "first and last";
  return values.length ? { text: `${short(values[0])} → ${short(values[values.length - 1])}`, what } : null;
}

function origin(runs) {
  if (runs.length > 1) return `${runs.length} runs`;
  return `${runs[0].host === "unknown" ? "trainer unknown" : runs[0].host}, ${runs[0].format}`;
}

const short = (value) => String(+value.toPrecision(3)).replace("-", "−");

function head(content) {
  const host = document.getElementById("head"), runs = content.runs;
  const facts = el("div", { class: "facts" });
  const fact = (value, text) => facts.append(el("div", { class: "fact" }, el("b", {}, value), el("span", {}, text)));
  if (runs.length === 1) {
    fact(number(runs[0].steps), `steps logged, ${number(runs[0].first)} to ${number(runs[0].last)}`);
    const entropy = last(content, "entropy", 0), reward = last(content, "reward", 0);
    const chart = content.charts.find((c) => c.id === "entropy"), target = chart?.series.find((s) => s.color === "target");
    if (entropy) fact(entropy.text, `entropy, ${entropy.what} [${chart.y}]`);
    if (target) fact(short(target.y[target.y.length - 1]), "target at the end [nats per token]");
    if (reward) fact(reward.text, `reward, ${reward.what}`);
  }
  host.replaceChildren(el("h1", {}, runs.map((run) => run.label).join(" · ")),
    el("p", { class: "sub" }, `${origin(runs)} · made ${content.made} · entrostat ${content.entrostat}`), facts);
}

function verdict(content) {
  const host = document.getElementById("verdict"), list = el("div", { class: "findings" });
  for (const [index, run] of content.runs.entries()) {
    if (!run.findings.length) {
      const [kind, badge, title] = unfound(run);
      const text = "None of the signatures of failure shows in the columns that this log has. That is no proof of health: a log without reward, length or gradient hides much.";
      list.append(el("article", { class: "card finding" }, el("div", { class: "title" }, el("span", { class: `badge ${kind}` }, badge),
        el("h3", {}, content.runs.length > 1 ? run.label : title)),
        run.judged ? el("p", {}, text) : null,
        run.too_few ? el("p", {}, run.too_few) : null));
    }
    for (const finding of run.findings) list.append(found(finding, content.runs.length > 1 ? run.label : "", index));
    for (const text of run.problems) list.append(el("article", { class: "card finding remark" }, el("p", {}, text)));
  }
  host.replaceChildren(el("h2", { id: "verdict-title" }, "Verdict"), list);
}

// What to say of a run without findings: how the badge looks, its word, the title.
function unfound(run) {
  if (!run.judged) return ["remark", "too few rows", "Too little to judge"];
  if (run.too_few) return ["remark", "nothing found", "The rules that could look found no fault"];
  return ["fine", "nothing found", "No rule found a fault"];
}

function steps(first, last) {
  return first === last ? `step ${number(first)}` : `steps ${number(first)} to ${number(last)}`;
}

function found(finding, label) {
  const zoom = el("button", { type: "button", onclick: () => {
    const [low, high] = finding.steps, room = Math.max((high - low) * .1, 1);
    shared.setZoom([low - room, high + room]);
    document.getElementById("charts").scrollIntoView();
  } }, steps(...finding.steps));
  return el("article", { class: `card finding ${finding.severity}` },
    el("div", { class: "title" }, el("span", { class: `badge ${finding.severity}` }, finding.severity), el("h3", {}, label ? `${label}: ${finding.title}` : finding.title)),
    el("p", {}, finding.text), el("p", {}, el("b", {}, "What to do: "), ...finding.advice.split("`").map((part, i) => i % 2 ? el("code", {}, part) : part)),
    el("div", { class: "meta" }, el("span", {}, finding.code), el("span", {}, `confidence ${Math.round(finding.confidence * 100)} %`), zoom));
}

function drawCharts(content) {
  const host = document.getElementById("charts");
  shared.charts.clear();
  const steps = content.charts.filter((spec) => spec.kind !== "points").flatMap((spec) => spec.series.flatMap((series) => extent(series.x))).filter(Number.isFinite);
  shared.steps = steps.length ? extent(steps) : null;
  const grid = el("div", { class: "grid" });
  host.replaceChildren(el("h2", {}, "Charts"), el("p", { class: "sub" }, "Drag to zoom into steps, double-click to see all of them again; a name in a legend hides its line."), grid);
  const off = state.off || new Map();
  for (const spec of content.charts) {
    const chart = new Chart(spec);
    if (off.has(spec.id)) { chart.off = off.get(spec.id); chart.legend.replaceChildren(); chart.makeLegend(); }
    off.set(spec.id, chart.off);
    grid.append(chart.figure);
  }
  state.off = off;
}

function configuration(content) {
  const host = document.getElementById("configuration"), runs = content.runs;
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.config)))];
  const parts = [el("h2", { id: "configuration-title" }, "Configuration")];
  if (keys.length) {
    const table = dataTable(["setting", ...runs.map((run) => run.label)], keys.map((key) => [key, ...runs.map((run) => run.config[key] ?? "–")]), true);
    if (runs.length > 1) [...table.tBodies[0].rows].forEach((row, i) => { if (new Set(runs.map((run) => run.config[keys[i]])).size > 1) row.classList.add("differs"); });
    parts.push(el("div", { class: "card" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings" }, table)));
  }
  for (const run of runs) {
    const columns = dataTable(["quantity", "column of the log", "unit", "how it was computed"], run.columns.map((c) => [c.quantity, c.column, c.unit, c.kind]), true);
    parts.push(el("details", { class: "card" }, el("summary", {}, `What was read from ${run.label}: ${run.path}`),
      ...run.notes.map((text) => el("p", { class: "note" }, text)), el("div", { class: "scroll" }, columns)));
  }
  host.replaceChildren(...parts);
}

function render(content) {
  head(content);
  verdict(content);
  drawCharts(content);
  const signature = JSON.stringify(content.tokens.map((record) => [record.run, record.step, record.lengths]));
  if (!state.tokens) state.tokens = new TokenView(content, document.getElementById("tokens"));
  else if (signature !== state.signature) { state.tokens.read(content); state.tokens.build(); }
  state.signature = signature;
  configuration(content);
}

// A server of `entrostat watch --web` is asked every few seconds whether there is news.
function follow() {
  const footer = document.querySelector("footer");
  const ask = async () => {
    try {
      const answer = await fetch("data.json" + (state.version ? `?since=${encodeURIComponent(state.version)}` : ""), { cache: "no-store" });
      if (answer.status === 200) {
        const news = await answer.json();
        if (state.version !== null && news.version !== state.version) render(news.content);
        state.version = news.version;
      }
      footer.textContent = `Live: last asked at ${new Date().toLocaleTimeString()}.`;
    } catch { footer.textContent = "The server has stopped; this is the last that it told."; }
    setTimeout(ask, 3000);
  };
  ask();
}

theme();
document.querySelector("nav").append(...SECTIONS.map(([id, name]) => el("a", { href: `#${id}` }, name)));
render(JSON.parse(document.getElementById("data").textContent));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) { if (event.key === "Escape") { event.target.value = event.target.type === "search" ? "" : event.target.value; event.target.dispatchEvent(new Event("input")); event.target.blur(); } return; }
  if (state.tokens.key(event)) event.preventDefault();
});
if (document.body.dataset.live === "true") follow();
else document.querySelector("footer").textContent = "One file, no network: everything shown here is also in the JSON file beside it.";
document.documentElement.dataset.ready = "true";
