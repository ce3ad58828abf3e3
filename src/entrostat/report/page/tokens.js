"use strict";
// The token view: completions, every token colored by one of its numbers. All text is set as text, never as markup.

const COLORINGS = {
  flow: { name: "flow F = −r A D", of: (t) => t.flow, two: ["lowers the entropy", "raises it"] },
  entropy: { name: "entropy H", of: (t) => t.entropy, one: "nats" },
  advantage: { name: "advantage A", of: (t) => t.advantages, two: ["negative", "positive"] },
  weight: { name: "weight", of: (t) => t.weight, one: "factor", around: 1, two: ["below 1", "above 1"] },
  surprisal: { name: "surprisal −log p", of: (t) => -t.logp, one: "nats" },
};
const QUADRANT_NAMES = {
  "positive_likely": "A > 0, D > 0 (lowers)", "positive_unlikely": "A > 0, D < 0 (raises)",
  "negative_likely": "A < 0, D > 0 (raises)", "negative_unlikely": "A < 0, D < 0 (lowers)",
};
const SORTS = {
  "largest effect": (a, b) => Math.abs(b.effect) - Math.abs(a.effect),
  "lowers most": (a, b) => a.effect - b.effect,
  "raises most": (a, b) => b.effect - a.effect,
  "latest step": (a, b) => b.step - a.step || a.place - b.place,
  "highest reward": (a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity),
  "highest entropy": (a, b) => b.meanEntropy - a.meanEntropy,
};

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

// The packed columns of one record (`report/page.py`, packed): little-endian, as every browser's machine is.
function unpacked(record) {
  const columns = {}, would = {};
  for (const [name, text] of Object.entries(record.columns)) columns[name] = new Float32Array(bytes(text).buffer);
  for (const [name, text] of Object.entries(record.would)) would[name] = bytes(text);
  return { columns, would, ids: new Int32Array(bytes(record.ids).buffer) };
}

class TokenView {
  constructor(content, host) {
    this.host = host;
    this.choice = { coloring: "flow", text: "", least: "", most: "", quadrant: "", sort: "largest effect", run: "", step: "" };
    this.read(content);
    this.build();
  }

  read(content) {
    this.content = content;
    this.completions = [];
    content.tokens.forEach((record) => {
      const found = unpacked(record);
      let start = 0;
      record.lengths.forEach((length, row) => {
        this.completions.push({ record, found, row, start, length, step: record.step, run: record.run, place: row,
          reward: record.rewards[row], prompt: record.prompts[row] ?? "", full: record.full_lengths[row] });
        start += length;
      });
    });
    for (const completion of this.completions) {
      let total = 0;
      const parts = [];
      for (let i = 0; i < completion.length; i++) {
        total += completion.found.columns.entropy[completion.start + i];
        if (i < 120) parts.push(this.piece(completion, i));
      }
      completion.meanEntropy = completion.length ? total / completion.length : 0;
      completion.opening = parts.join("").replace(/\s+/g, " ").slice(0, 160);
      completion.advantage = completion.length ? completion.found.columns.advantages[completion.start] : 0;
    }
  }

  piece(completion, i) { const id = completion.found.ids[completion.start + i]; return completion.record.texts[id] ?? `⟨${id}⟩`; }

  token(completion, i) {
    const at = completion.start + i, c = completion.found.columns;
    const logp = c.logp[at], entropy = c.entropy[at], centered = c.centered[at], advantages = c.advantages[at], ratio = c.ratio[at];
    const p = Math.exp(logp), quadrant = this.quadrant(advantages, centered);
    return { at, logp, entropy, centered, advantages, ratio, weight: c.weight[at], p, s: p * (entropy + Math.max(logp, -1e4)), flow: -ratio * advantages * centered, quadrant };
  }

  quadrant(advantage, centered) {
    return advantage === 0 || centered === 0 ? "" : `${advantage > 0 ? "positive" : "negative"}_${centered > 0 ? "likely" : "unlikely"}`;
  }

  effectOf(completion) {
    const { centered, advantages, ratio } = completion.found.columns, { start, length } = completion, wanted = this.choice.quadrant;
    let effect = 0, count = 0;
    for (let at = start; at < start + length; at++) {
      if (wanted && this.quadrant(advantages[at], centered[at]) !== wanted) continue;
      effect -= ratio[at] * advantages[at] * centered[at];
      count++;
    }
    return [effect, count];
  }

  build() {
    this.host.replaceChildren(el("h2", { id: "tokens-title" }, "Tokens"));
    if (!this.completions.length) {
      this.host.append(el("p", { class: "card sub" }, "These runs recorded no tokens. In entrostat train tokens.every=25 records them (the default); other loops use attribution.TokenRecorder."));
      return;
    }
    const input = (label, control) => el("label", {}, label, control);
    const select = (name, options) => {
      const node = el("select", { id: `by-${name}`, onchange: () => { this.choice[name] = node.value; this.update(); } }, ...options.map(([value, text]) => el("option", { value }, text)));
      node.value = this.choice[name];
      return node;
    };
    const typed = (name, type, width) => {
      const take = (event) => { this.choice[name] = event.target.value; this.update(); };
      return el("input", { id: `by-${name}`, type, step: "any", value: this.choice[name], size: width, oninput: take, onsearch: take });
    };
    const steps = [...new Set(this.completions.map((c) => c.step))].sort((a, b) => a - b);
    const controls = el("div", { class: "controls" },
      input("Color by", select("coloring", Object.entries(COLORINGS).map(([value, c]) => [value, c.name]))),
      input("Prompt or text contains", typed("text", "search", 18)),
      input("Reward from", typed("least", "number")), input("to", typed("most", "number")),
      input("Quadrant", select("quadrant", [["", "all"], ...Object.entries(QUADRANT_NAMES)])),
      input("Sort by", select("sort", Object.keys(SORTS).map((name) => [name, name]))),
      input("Step", select("step", [["", "all"], ...steps.map((step) => [String(step), String(step)])])));
    if (this.content.runs.length > 1) controls.append(input("Run", select("run", [["", "all"], ...this.content.runs.map((run, i) => [String(i), run.label])])));
    this.list = el("ul", { class: "list", role: "listbox", tabindex: "0", "aria-label": "Completions", onkeydown: (event) => this.listKey(event) });
    this.detail = el("div", { class: "card", role: "region", "aria-label": "The chosen completion" });
    this.count = el("p", { class: "note", role: "status" });
    this.tip = el("div", { class: "tip", role: "tooltip", id: "token-tip", hidden: true });
    this.host.append(
      el("p", { class: "sub" }, `${this.completions.length} completions out of recorded steps. The effect of a completion is the sum of its tokens' flow: below 0 it lowers the entropy.`),
      controls, el("div", { class: "view" }, el("div", {}, this.list, this.count), this.detail),
      el("p", { class: "keys" }, el("kbd", {}, "j"), " ", el("kbd", {}, "k"), " next and previous completion · ", el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " tokens, in the text · ",
        el("kbd", {}, "1"), " to ", el("kbd", {}, "5"), " coloring · ", el("kbd", {}, "/"), " filter · ", el("kbd", {}, "Esc"), " close"),
      this.vocabulary(), this.tip);
    this.update();
  }

  update(keep = false) {
    const { text, least, most, run, step, sort, quadrant } = this.choice, needle = text.toLowerCase();
    const before = keep ? this.chosen : null;
    this.visible = this.completions.filter((c) => {
      if (run !== "" && c.run !== Number(run) || step !== "" && c.step !== Number(step)) return false;
      if (least !== "" && !(c.reward !== null && c.reward >= Number(least))) return false;
      if (most !== "" && !(c.reward !== null && c.reward <= Number(most))) return false;
      if (needle && !c.prompt.toLowerCase().includes(needle) && !this.whole(c).includes(needle)) return false;
      const [effect, count] = this.effectOf(c);
      c.effect = effect;
      return !quadrant || count > 0;
    }).sort(SORTS[sort]);
    this.list.replaceChildren(...this.visible.map((c, i) => {
      const mark = el("span", { class: "meter", "aria-hidden": "true" });
      mark.style.width = "9px";
      mark.style.background = c.effect > 0 ? "var(--raises)" : c.effect < 0 ? "var(--lowers)" : "var(--neutral)";
      const name = (this.content.runs.length > 1 ? this.content.runs[c.run].label + " · " : "") + `step ${c.step}`;
      return el("li", { role: "option", id: `completion-${i}`, "aria-selected": "false", onclick: () => this.choose(i) },
        el("div", { class: "row" }, el("span", {}, name), el("span", {}, c.reward === null ? "" : `reward ${number(c.reward)}`), el("span", {}, mark, ` ${signed(c.effect)}`)),
        el("div", { class: "clip" }, c.opening || "(empty)"));
    }));
    this.count.textContent = `${this.visible.length} of ${this.completions.length} completions`;
    this.choose(Math.max(0, before ? this.visible.indexOf(before) : 0), false);
  }

  whole(completion) {
    if (completion.lower === undefined) {
      const parts = [];
      for (let i = 0; i < completion.length; i++) parts.push(this.piece(completion, i));
      completion.lower = parts.join("").toLowerCase();
    }
    return completion.lower;
  }

  choose(index, scroll = true) {
    this.index = index;
    this.chosen = this.visible[index];
    this.hideTip();
    for (const [i, item] of [...this.list.children].entries()) item.setAttribute("aria-selected", String(i === index));
    const item = this.list.children[index];
    if (item) { this.list.setAttribute("aria-activedescendant", item.id); if (scroll) item.scrollIntoView({ block: "nearest" }); }
    this.show();
  }

  show() {
    const c = this.chosen;
    if (!c) { this.detail.replaceChildren(el("p", { class: "sub" }, "No completion passes the filters.")); return; }
    const text = el("div", { class: "text", tabindex: "0", role: "group", "aria-label": "Tokens; arrow keys go from one to the next", "aria-describedby": "token-tip" });
    const coloring = COLORINGS[this.choice.coloring], values = [];
    for (let i = 0; i < c.length; i++) values.push(coloring.of(this.token(c, i)));
    const largest = this.largest(values, coloring);
    for (let i = 0; i < c.length; i++) {
      const token = this.token(c, i), span = el("span", { class: "tok", "data-i": i });
      if (this.choice.quadrant && token.quadrant !== this.choice.quadrant) span.classList.add("dim");
      span.style.backgroundColor = this.shade(values[i], largest, coloring);
      span.textContent = this.piece(c, i).replaceAll("\n", "↵\n") || "∅";
      text.append(span);
    }
    const spanOf = (event) => event.target.closest?.(".tok");
    text.addEventListener("pointerover", (event) => { const span = spanOf(event); if (span) this.point(Number(span.dataset.i)); });
    text.addEventListener("pointerleave", () => this.hideTip());
    text.addEventListener("blur", () => this.hideTip());
    text.addEventListener("keydown", (event) => this.textKey(event));
    this.text = text;
    this.at = -1;
    const more = c.full > c.length ? ` (the first ${number(c.length)} of ${number(c.full)} tokens)` : ` (${number(c.length)} tokens)`;
    this.detail.replaceChildren(
      el("div", { class: "title" }, el("h3", {}, `Step ${c.step}`, el("span", { class: "unit" }, more)),
        el("span", { class: "sub" }, `${c.reward === null ? "" : `reward ${number(c.reward)} · `}advantage ${signed(c.advantage)} · effect ${signed(c.effect)} · mean entropy ${number(c.meanEntropy)} nats`)),
      ...(c.prompt ? [el("div", { class: "prompt", tabindex: "0", "aria-label": "Prompt" }, c.prompt)] : []),
      text, this.scale(coloring, largest));
  }

  // The value that is colored fully: a high quantile, so that one token does not pale the others.
  largest(values, coloring) {
    const sizes = values.map((v) => Math.abs(v - (coloring.around ?? 0))).filter(Number.isFinite).sort((a, b) => a - b);
    return sizes.length ? Math.max(sizes[Math.floor(.97 * (sizes.length - 1))], sizes[sizes.length - 1] * .3, 1e-9) : 1;
  }

  shade(value, largest, coloring) {
    if (!Number.isFinite(value)) return "transparent";
    const away = value - (coloring.around ?? 0), strength = Math.min(Math.abs(away) / largest, 1) * .5;
    if (coloring.two) return `rgba(var(--${away >= 0 ? "raises" : "lowers"}-rgb), ${strength.toFixed(3)})`;
    return `rgba(var(--heat-rgb), ${strength.toFixed(3)})`;
  }

  scale(coloring, largest) {
    const ramp = el("span", { class: "ramp", "aria-hidden": "true" }), middle = coloring.around ?? 0;
    ramp.style.background = coloring.two ? "linear-gradient(to right, rgba(var(--lowers-rgb), .5), transparent, rgba(var(--raises-rgb), .5))" : "linear-gradient(to right, transparent, rgba(var(--heat-rgb), .5))";
    const [low, high] = coloring.two ? [`${number(middle - largest)} ${coloring.two[0]}`, `${number(middle + largest)} ${coloring.two[1]}`] : ["0", `${number(largest)} ${coloring.one} and more`];
    return el("div", { class: "scale" }, el("span", {}, coloring.name + ":"), el("span", {}, low), ramp, el("span", {}, high));
  }

  // -- one token --------------------------------------------------------------------------------------------------------

  point(i) {
    this.text.querySelector(".at")?.classList.remove("at");
    const span = this.text.children[i];
    if (!span) return;
    this.at = i;
    span.classList.add("at");
    const c = this.chosen, token = this.token(c, i);
    const rows = [["probability p", number(token.p)], ["entropy H", number(token.entropy)], ["discriminator S", signed(token.s)], ["centered D", signed(token.centered)],
      ["advantage A", signed(token.advantages)], ["ratio r", number(token.ratio)], ["weight", number(token.weight)], ["flow F", signed(token.flow)]];
    const acting = [], idle = []; // the methods that would change this token's gradient, and those that would not
    for (const [name, factors] of Object.entries(c.found.would)) {
      const factor = (factors[token.at] / 50).toFixed(2), terms = c.record.terms[name];
      if (factor === "1.00" && !terms) idle.push(name);
      else acting.push(el("div", {}, el("span", {}, name), el("span", {}, `× ${factor}${terms ? " + a term" : ""}`)));
    }
    const table = (pairs) => el("table", {}, el("tbody", {}, ...pairs.map(([name, value]) => el("tr", {}, el("td", {}, name), el("td", {}, value)))));
    const piece = el("span", { class: "piece" }, JSON.stringify(this.piece(c, i)));
    this.tip.replaceChildren(el("b", {}, piece), ` · token ${i + 1}, id ${c.found.ids[token.at]}`,
      el("div", { class: "note" }, token.quadrant ? QUADRANT_NAMES[token.quadrant] : "no effect: A or D is 0"), table(rows));
    if (acting.length) this.tip.append(el("div", { class: "note" }, "Asked to raise the entropy, its gradient would be"), el("div", { class: "methods" }, ...acting));
    if (idle.length) this.tip.append(el("div", { class: "note" }, `Unchanged by ${idle.join(", ")}`));
    this.tip.hidden = false;
    const box = span.getBoundingClientRect(), host = this.host.getBoundingClientRect();
    this.host.style.position = "relative";
    this.tip.style.left = Math.max(0, Math.min(box.left - host.left, host.width - this.tip.offsetWidth - 4)) + "px";
    const below = box.bottom + this.tip.offsetHeight + 10 < window.innerHeight || box.top < this.tip.offsetHeight + 70;
    this.tip.style.top = (below ? box.bottom - host.top + 6 : box.top - host.top - this.tip.offsetHeight - 6) + "px";
  }

  hideTip() { this.tip.hidden = true; this.text?.querySelector(".at")?.classList.remove("at"); }

  textKey(event) {
    const last = this.chosen.length - 1, moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = Math.min(Math.max(this.at + moves[event.key], 0), last);
    this.text.children[next]?.scrollIntoView({ block: "nearest" });
    this.point(next);
  }

  listKey(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.step(moves[event.key]);
  }

  step(by) { if (this.visible.length) this.choose(Math.min(Math.max(this.index + by, 0), this.visible.length - 1)); }

  // Keys that work anywhere on the page but in a field; true where one was taken.
  key(event) {
    if (!this.completions.length) return false;
    const names = Object.keys(COLORINGS);
    if (event.key === "j" || event.key === "k") this.step(event.key === "j" ? 1 : -1);
    else if (names[Number(event.key) - 1]) { this.choice.coloring = names[Number(event.key) - 1]; document.getElementById("by-coloring").value = this.choice.coloring; this.show(); }
    else if (event.key === "/") document.getElementById("by-text").focus();
    else if (event.key === "Escape") this.hideTip();
    else return false;
    return true;
  }

  // -- the vocabulary ---------------------------------------------------------------------------------------------------

  vocabulary() {
    const sums = new Map();
    for (const record of this.content.tokens) for (const [id, flow, count] of record.vocabulary) {
      const before = sums.get(id) || { id, flow: 0, count: 0, text: record.texts[id] ?? `⟨${id}⟩` };
      before.flow += flow;
      before.count += count;
      sums.set(id, before);
    }
    const top = [...sums.values()].sort((a, b) => Math.abs(b.flow) - Math.abs(a.flow)).slice(0, 10);
    const largest = Math.max(...top.map((t) => Math.abs(t.flow)), 1e-12);
    const rows = top.map((t) => {
      const meter = el("span", { class: "meter", "aria-hidden": "true" });
      meter.style.width = `calc(${(Math.abs(t.flow) / largest).toFixed(3)} * var(--meter))`;
      meter.style.background = t.flow > 0 ? "var(--raises)" : "var(--lowers)";
      return [el("span", { class: "piece" }, JSON.stringify(t.text)), number(t.id), number(t.count), el("span", {}, `${signed(t.flow)} `, meter), t.flow > 0 ? "raises" : "lowers"];
    });
    const table = dataTable(["token", "id", "times", "flow, summed", "entropy"], rows, true);
    table.id = "vocabulary";
    return el("div", { class: "card", id: "vocabulary-card" }, el("h3", {}, "The ten tokens of the vocabulary that moved the entropy most"),
      el("p", { class: "note" }, "Flow summed over the whole batches of the recorded steps, first order, before the method's weights."), el("div", { class: "scroll" }, table));
  }
}
