"use strict";
// Charts as SVG from plain data (`report/charts.py` says what it looks like). Every chart: a legend that switches series, a cursor
// shared by all charts over steps, zoom by dragging, the keyboard, and a table of what is drawn.

const SVG = "http://www.w3.org/2000/svg";

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// Five digits at most, without an exponent where there is room.
function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en-US");
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(2) : size >= 100 ? value.toFixed(1) : value.toPrecision(4);
  return text.replace("-", "−");
}

function signed(value) { return value > 0 ? "+" + number(value) : number(value); }

function color(series) {
  const own = series.color === undefined ? series.run : series.color;
  return typeof own === "number" ? `var(--c${own % 8})` : `var(--${own})`;
}

function ticks(low, high, count, whole) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  if (whole) step = Math.max(1, Math.ceil(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return found;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (value !== null) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

// Where in a sorted list a value would stand.
function place(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] < value) low = middle + 1; else high = middle; }
  return low;
}

function nearest(sorted, value) {
  const at = place(sorted, value);
  if (at === 0) return 0;
  if (at === sorted.length) return at - 1;
  return value - sorted[at - 1] <= sorted[at] - value ? at - 1 : at;
}

// The cursor and the zoom that all charts over steps share.
const shared = {
  charts: new Set(),
  zoom: null,
  steps: null, // first and last step of all charts: they stand below each other
  cursor(step, source) { for (const chart of this.charts) chart.showCursor(step, chart === source); },
  setZoom(zoom) { this.zoom = zoom; for (const chart of this.charts) chart.draw(); },
};

class Chart {
  constructor(spec) {
    this.spec = spec;
    this.overSteps = spec.kind !== "points";
    this.off = new Set(spec.series.filter((series) => series.hidden).map((series) => series.name));
    this.height = spec.id === "entropy" ? 300 : 230;
    this.ownZoom = null;
    this.at = null;
    this.plot = svg("svg", { class: "plot", tabindex: "0", role: "img", height: this.height });
    this.tip = el("div", { class: "tip", hidden: true });
    this.reset = el("button", { type: "button", hidden: true, onclick: () => this.setZoom(null) }, "Reset zoom");
    this.legend = el("div", { class: "legend" });
    this.table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${spec.title}` });
    const details = el("details", { class: "data", ontoggle: () => details.open && this.fillTable() },
      el("summary", {}, "Table"), this.table);
    this.figure = el("figure", { class: "card" + (spec.id === "entropy" ? " wide" : ""), id: `chart-${spec.id}` },
      el("div", { class: "title" }, el("h3", {}, spec.title, el("span", { class: "unit" }, spec.y)), this.reset),
      this.legend, this.plot, el("figcaption", { class: "note" }, spec.note), details, this.tip);
    this.plot.setAttribute("aria-label", `${spec.title}: ${spec.series.map((series) => series.name).join(", ")}. Arrow keys move the cursor; the table below holds the values.`);
    this.makeLegend();
    this.listen();
    if (this.overSteps) shared.charts.add(this);
    this.width = 0;
    new ResizeObserver(() => { if (this.plot.clientWidth && this.plot.clientWidth !== this.width) this.draw(); }).observe(this.plot);
  }

  get zoom() { return this.overSteps ? shared.zoom : this.ownZoom; }
  setZoom(zoom) { if (this.overSteps) shared.setZoom(zoom); else { this.ownZoom = zoom; this.draw(); } }
  get shown() { return this.spec.series.filter((series) => !this.off.has(series.name)); }

  makeLegend() {
    for (const series of this.spec.series) {
      const swatch = svg("svg", { width: 18, height: 10, "aria-hidden": "true" });
      const mark = series.band || this.spec.kind === "stack" && series.color !== "target" ? svg("rect", { width: 18, height: 10, rx: 2, "fill-opacity": series.band ? .25 : .75 })
        : this.spec.kind === "points" && !series.line || series.dots === "only" ? svg("circle", { cx: 9, cy: 5, r: 4 })
        : svg("line", { x1: 0, x2: 18, y1: 5, y2: 5, "stroke-width": series.thin ? 1.2 : 2.4, "stroke-dasharray": series.dash ? "4 3" : "none" });
      mark.style[mark.tagName === "line" ? "stroke" : "fill"] = color(series);
      swatch.append(mark);
      const button = el("button", {
        type: "button", "aria-pressed": String(!this.off.has(series.name)), onclick: () => {
          if (!this.off.delete(series.name)) this.off.add(series.name);
          button.setAttribute("aria-pressed", String(!this.off.has(series.name)));
          this.draw();
        },
      }, swatch, series.name);
      this.legend.append(button);
    }
  }

  // The sums on which stacked series stand: those above 0 upwards, those below downwards.
  stacked() {
    const layers = this.shown.filter((series) => series.color !== "target");
    if (!layers.length) return [];
    const up = layers[0].x.map(() => 0), down = layers[0].x.map(() => 0);
    return layers.map((series) => {
      const from = [], to = [];
      series.y.forEach((value, i) => {
        const base = value >= 0 ? up : down;
        from.push(base[i]); base[i] += value; to.push(base[i]);
      });
      return { series, from, to };
    });
  }

  limits() {
    const all = this.shown.length ? this.shown : this.spec.series;
    const xs = this.overSteps && shared.steps ? [shared.steps] : this.spec.series.map((series) => extent(series.x));
    let x = this.zoom || [Math.min(...xs.map((e) => e[0])), Math.max(...xs.map((e) => e[1]))];
    if (!Number.isFinite(x[0])) x = [0, 1];
    if (x[0] === x[1]) x = [x[0] - 1, x[1] + 1];
    let low = this.spec.zero ? 0 : Infinity, high = this.spec.zero ? 0 : -Infinity;
    const take = (xs, values) => values.forEach((value, i) => {
      if (value !== null && xs[i] >= x[0] && xs[i] <= x[1]) { if (value < low) low = value; if (value > high) high = value; }
    });
    if (this.spec.kind === "stack") for (const { series, from, to } of this.stacked()) { take(series.x, from); take(series.x, to); }
    for (const series of all) for (const values of series.band || (series.y && !(this.spec.kind === "stack" && series.color !== "target") ? [series.y] : [])) take(series.x, values);
    if (!Number.isFinite(low)) [low, high] = [0, 1];
    if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * .1, high + Math.abs(high) * .1];
    const room = (high - low) * .06;
    if (this.spec.kind === "points" && !this.zoom) { const more = (x[1] - x[0]) * .03; x = [x[0] - more, x[1] + more]; }
    return { x, y: [this.spec.zero && low >= 0 ? 0 : low - room, high + room] };
  }

  draw() {
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    const { x, y } = this.limits();
    const left = 58, right = 12, top = 8, bottom = 36, width = this.width, height = this.height;
    this.X = (value) => left + (value - x[0]) / (x[1] - x[0]) * (width - left - right);
    this.Y = (value) => height - bottom - (value - y[0]) / (y[1] - y[0]) * (height - top - bottom);
    this.back = (pixel) => x[0] + (pixel - left) / (width - left - right) * (x[1] - x[0]);
    this.box = { left, right: width - right, top, bottom: height - bottom };
    this.plot.replaceChildren();
    this.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.axes(x, y);
    const clip = `clip-${this.spec.id}`;
    const clipping = svg("clipPath", { id: clip });
    clipping.append(svg("rect", { x: left - 5, y: top - 5, width: Math.max(width - left - right + 10, 0), height: height - top - bottom + 10 }));
    const body = svg("g", { "clip-path": `url(#${clip})` });
    this.plot.append(clipping, body);
    if (this.spec.diagonal) this.path(body, [Math.max(x[0], y[0]), Math.min(x[1], y[1])], [Math.max(x[0], y[0]), Math.min(x[1], y[1])], { color: "neutral", dash: true });
    if (this.spec.kind === "stack") for (const layer of this.stacked()) this.area(body, layer.series, layer.series.x, layer.from, layer.to, .75);
    for (const series of this.shown) {
      if (series.band) this.area(body, series, series.x, series.band[0], series.band[1], .18);
      else if (this.spec.kind === "points" && !series.line) this.dots(body, series, 5, .55);
      else if (series.dots === "only") this.dots(body, series, 6, 1);
      else if (this.spec.kind !== "stack" || series.color === "target") {
        this.path(body, series.x, series.y, series);
        if (series.dots || series.x.length === 1) this.dots(body, series, 6, 1);
      }
    }
    this.line = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
    this.spot = svg("g", {});
    this.brush = svg("rect", { class: "brush", y: top, height: height - top - bottom, visibility: "hidden" });
    this.plot.append(this.brush, this.line, this.spot);
    this.reset.hidden = !this.zoom;
  }

  axes(x, y) {
    const { left, right, top, bottom } = this.box;
    const decimals = (list) => { const gap = list.length > 1 ? list[1] - list[0] : Math.abs(list[0]) || 1; return Math.max(0, Math.min(8, -Math.floor(Math.log10(gap) + 1e-9) + (String(gap / 10 ** Math.floor(Math.log10(gap))).startsWith("2.5") ? 1 : 0))); };
    const label = (value, list) => {
      const largest = Math.max(...list.map(Math.abs));
      if (value !== 0 && largest < 1e-3) return value.toExponential(1).replace("-", "−").replace("e−", "e−");
      return value.toLocaleString("en-US", { minimumFractionDigits: decimals(list), maximumFractionDigits: decimals(list) }).replace("-", "−");
    };
    const vertical = ticks(y[0], y[1], 5, false), across = ticks(x[0], x[1], Math.max(2, Math.floor(this.width / 110)), this.overSteps);
    for (const value of vertical) {
      const at = this.Y(value);
      this.plot.append(svg("line", { class: value === 0 ? "axis" : "gridline", x1: left, x2: right, y1: at, y2: at, "stroke-width": value === 0 ? .8 : 1 }));
      const text = svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" });
      text.textContent = label(value, vertical);
      this.plot.append(text);
    }
    for (const value of across) {
      const at = this.X(value);
      this.plot.append(svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 }));
      const text = svg("text", { x: at, y: bottom + 17, "text-anchor": "middle" });
      text.textContent = label(value, across);
      this.plot.append(text);
    }
    this.plot.append(svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
    const name = svg("text", { x: right, y: bottom + 32, "text-anchor": "end" });
    name.textContent = this.spec.x;
    this.plot.append(name);
  }

  path(body, xs, ys, series) {
    let d = "", pen = false;
    for (let i = 0; i < xs.length; i++) {
      if (ys[i] === null) { pen = false; continue; }
      d += (pen ? "L" : "M") + this.X(xs[i]).toFixed(1) + "," + this.Y(ys[i]).toFixed(1);
      pen = true;
    }
    const path = svg("path", { d, "stroke-width": series.thin ? 1 : 1.8, "stroke-dasharray": series.dash ? "5 4" : "none", "stroke-opacity": series.thin ? .6 : 1 });
    path.style.stroke = color(series);
    body.append(path);
  }

  area(body, series, xs, low, high, opacity) {
    const points = [];
    for (let i = 0; i < xs.length; i++) points.push(this.X(xs[i]).toFixed(1) + "," + this.Y(high[i]).toFixed(1));
    for (let i = xs.length - 1; i >= 0; i--) points.push(this.X(xs[i]).toFixed(1) + "," + this.Y(low[i]).toFixed(1));
    const path = svg("path", { class: "area", d: "M" + points.join("L") + "Z", "fill-opacity": opacity });
    path.style.fill = color(series);
    body.append(path);
  }

  // All dots of a series are one path of lines without length: quick to draw.
  dots(body, series, size, opacity) {
    let d = "";
    for (let i = 0; i < series.x.length; i++) if (series.y[i] !== null) d += `M${this.X(series.x[i]).toFixed(1)},${this.Y(series.y[i]).toFixed(1)}h0`;
    const path = svg("path", { d, "stroke-width": size, "stroke-linecap": "round", "stroke-opacity": opacity });
    path.style.stroke = color(series);
    body.append(path);
  }

  // -- pointing ---------------------------------------------------------------------------------------------------------

  listen() {
    let from = null;
    const pixel = (event) => event.clientX - this.plot.getBoundingClientRect().left;
    this.plot.addEventListener("pointerdown", (event) => { if (event.button === 0) { from = pixel(event); this.plot.setPointerCapture(event.pointerId); } });
    this.plot.addEventListener("pointermove", (event) => {
      const at = pixel(event);
      if (from !== null && Math.abs(at - from) > 5) {
        const low = Math.max(Math.min(from, at), this.box.left), high = Math.min(Math.max(from, at), this.box.right);
        this.brush.setAttribute("x", low);
        this.brush.setAttribute("width", Math.max(high - low, 0));
        this.brush.setAttribute("visibility", "visible");
      }
      this.point(this.back(at), event.clientY - this.plot.getBoundingClientRect().top, at);
    });
    this.plot.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(pixel(event) - from) > 5) {
        const pair = [this.back(from), this.back(pixel(event))].sort((a, b) => a - b);
        this.setZoom(pair);
      }
      from = null;
      this.brush.setAttribute("visibility", "hidden");
    });
    this.plot.addEventListener("pointerleave", () => this.leave());
    this.plot.addEventListener("blur", () => this.leave());
    this.plot.addEventListener("dblclick", () => this.setZoom(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  leave() { this.at = null; this.tip.hidden = true; if (this.overSteps) shared.cursor(null, null); else this.spot?.replaceChildren(); }

  key(event) {
    const { x } = this.limits();
    if (event.key === "Escape") { this.setZoom(null); this.leave(); return; }
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const series = this.shown.find((one) => one.y && one.x.length > 1) || this.shown[0];
    if (!series) return;
    const order = this.overSteps ? series.x : [...series.x].sort((a, b) => a - b);
    const inside = order.filter((value) => value >= x[0] && value <= x[1]);
    const now = this.at === null ? (moves[event.key] > 0 ? -1 : inside.length) : nearest(inside, this.at);
    const next = inside[Math.min(Math.max(now + moves[event.key], 0), inside.length - 1)];
    if (next === undefined) return;
    const i = series.x.indexOf(next);
    this.point(next, this.Y(series.y ? series.y[i] : 0), this.X(next));
  }

  point(value, pixelY, pixelX) {
    if (!this.X) return;
    this.at = value;
    if (this.overSteps) shared.cursor(value, this);
    else this.nearestPoint(pixelX, pixelY);
  }

  showCursor(step, own) {
    if (!this.line) return;
    if (step === null) { this.line.setAttribute("visibility", "hidden"); this.spot.replaceChildren(); this.tip.hidden = true; return; }
    const guide = this.shown.find((series) => series.y && series.x.length) || this.shown[0];
    if (!guide || !guide.x.length) return;
    const at = guide.x[nearest(guide.x, step)], x = this.X(at);
    const inside = x >= this.box.left - 1 && x <= this.box.right + 1;
    this.line.setAttribute("visibility", inside ? "visible" : "hidden");
    this.line.setAttribute("x1", x);
    this.line.setAttribute("x2", x);
    if (!own) { this.tip.hidden = true; return; }
    const rows = [];
    for (const series of this.shown) {
      if (!series.x.length) continue;
      const i = nearest(series.x, at);
      const near = Math.abs(series.x[i] - at) <= (this.back(this.box.left + 8) - this.back(this.box.left)) || series.dots;
      if (!near) continue;
      const away = series.x[i] !== at && series.dots ? ` (step ${number(series.x[i])})` : "";
      rows.push([series, series.band ? `${number(series.band[0][i])} to ${number(series.band[1][i])}` : number(series.y[i]) + away]);
    }
    this.showTip(`step ${number(Math.round(at))}`, rows, x, this.box.top + 6);
  }

  nearestPoint(px, py) {
    let best = null, least = 900;
    for (const series of this.shown) for (let i = 0; i < series.x.length; i++) {
      if (series.y[i] === null || series.line) continue;
      const d = (this.X(series.x[i]) - px) ** 2 + (this.Y(series.y[i]) - py) ** 2;
      if (d < least) { least = d; best = [series, i]; }
    }
    this.spot.replaceChildren();
    if (!best) { this.tip.hidden = true; return; }
    const [series, i] = best, x = this.X(series.x[i]), y = this.Y(series.y[i]);
    const ring = svg("circle", { cx: x, cy: y, r: 5, fill: "none", "stroke-width": 2 });
    ring.style.stroke = "var(--text)";
    this.spot.append(ring);
    this.showTip(series.name, [[{ name: this.spec.x, color: "neutral" }, number(series.x[i])], [{ name: this.spec.y, color: "neutral" }, number(series.y[i])]], x, y);
  }

  showTip(title, rows, x, y) {
    const body = el("tbody");
    for (const [series, value] of rows) {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = color(series);
      body.append(el("tr", {}, el("td", {}, swatch, series.name), el("td", {}, value)));
    }
    this.tip.replaceChildren(el("b", {}, title), el("table", {}, body));
    this.tip.hidden = false;
    const figure = this.figure.getBoundingClientRect(), plot = this.plot.getBoundingClientRect();
    const start = plot.left - figure.left, at = start + x, width = this.tip.offsetWidth, gap = 6;
    const right = at + 2 * gap, left = at - width - gap;
    // Beside the pointer and off the numbers of the axis: out of the card, where there is no room in it on either side.
    const inCard = right + width + gap <= figure.width, offAxis = left >= start + this.box.left - gap;
    const inWindow = figure.left + right + width + gap <= document.documentElement.clientWidth;
    this.tip.style.left = (inCard || (!offAxis && inWindow) ? right : Math.max(gap, left)) + "px";
    this.tip.style.top = plot.top - figure.top + y + "px";
  }

  // -- the table --------------------------------------------------------------------------------------------------------

  fillTable() {
    const spec = this.spec;
    let header, rows;
    if (spec.kind === "points") {
      header = ["series", spec.x, spec.y];
      rows = spec.series.flatMap((series) => series.x.map((x, i) => [series.name, number(x), number(series.y[i])]));
    } else {
      header = [spec.x, ...spec.series.map((series) => series.name)];
      const at = new Map();
      spec.series.forEach((series, column) => series.x.forEach((x, i) => {
        if (!at.has(x)) at.set(x, spec.series.map(() => ""));
        at.get(x)[column] = series.band ? `${number(series.band[0][i])} to ${number(series.band[1][i])}` : number(series.y[i]);
      }));
      rows = [...at.keys()].sort((a, b) => a - b).map((x) => [number(x), ...at.get(x)]);
    }
    this.table.replaceChildren(dataTable(header, rows.slice(0, 2000)));
    if (rows.length > 2000) this.table.append(el("p", { class: "note" }, `${rows.length - 2000} more rows are in the JSON file.`));
  }
}

function dataTable(header, rows, words = false) {
  const table = el("table", { class: "data" + (words ? " words" : "") },
    el("thead", {}, el("tr", {}, ...header.map((text) => el("th", { scope: "col" }, text)))));
  const body = el("tbody");
  for (const row of rows) body.append(el("tr", {}, ...row.map((cell, i) => i === 0 && words ? el("th", { scope: "row" }, cell) : el("td", {}, cell))));
  table.append(body);
  return table;
}
