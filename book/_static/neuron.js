/* The neuron that moves: sliders for a soft-reset integrate-and-fire neuron, its membrane over time, its staircase.
 *
 * A page holds <div class="moving-neuron" data-settings="{...}"> with a drawing inside; this script replaces the drawing.
 * The arithmetic (Eqs 2-8) is tested against the Python library by tests/book/test_moving_neuron.py.
 */
(function (factory) {
  "use strict";
  const made = factory();
  if (typeof module === "object" && module.exports) module.exports = made;
})(function () {
  "use strict";

  // ---------------------------------------------------------------- arithmetic

  const UNIT = 1e6; // membranes are counted in millionths: sums of decimals then are exact, and a tie is a tie

  /** Eqs 2-5 for a constant current: membranes before and after each reset, spikes, and their number. */
  function run(current, thresholds, start) {
    const i = Math.round(current * UNIT);
    let v = Math.round(start * thresholds[0] * UNIT);
    const before = [], after = [], spikes = [];
    for (const threshold of thresholds) {
      const h = v + i, cost = Math.round(threshold * UNIT);
      const z = h >= cost ? 1 : 0;
      v = h - cost * z;
      before.push(h / UNIT);
      after.push(v / UNIT);
      spikes.push(z);
    }
    return { before, after, spikes, count: spikes.reduce((a, b) => a + b, 0) };
  }

  /** Eq. 6 in the unit of the current: the rate times the first threshold. */
  function decode(count, thresholds) {
    return (thresholds[0] * count) / thresholds.length;
  }

  /** Eq. 8 in dB for a Gaussian current i of mean 0 and standard deviation sigma, and the target max(0, i + bias). */
  function sqnr(thresholds, start, sigma, bias = 0, points = 20000) {
    const n = points, reach = 6 * sigma;
    let signal = 0, noise = 0;
    for (let k = 0; k < n; k++) {
      const x = ((2 * k + 1) / n - 1) * reach; // middles of n cells of equal width
      const weight = Math.exp(-0.5 * (x / sigma) ** 2), target = Math.max(0, x + bias);
      const estimate = decode(run(x + bias, thresholds, start).count, thresholds);
      signal += weight * target * target;
      noise += weight * (target - estimate) ** 2;
    }
    return 10 * Math.log10(signal / noise);
  }

  // ---------------------------------------------------------------- drawing

  const SVG = "http://www.w3.org/2000/svg";
  const LABELS = { membrane: "Membrane over time", staircase: "Staircase", error: "Error", curve: "SQNR" };
  const NAMES = { i: "current i", threshold: "threshold V\u209c\u2095", b: "bias b", T: "timesteps T", start: "start V(0) / V\u209c\u2095" };

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(made);
    return made;
  }

  /** Axes in an SVG of a fixed inner size; returns functions from data to places. */
  function axes(svg, box, xs, ys, xLabel, yLabel) {
    svg.replaceChildren();
    const [width, height, left, bottom, top, right] = [420, 300, 52, 44, 12, 12];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const x = (value) => left + ((value - box.x[0]) / (box.x[1] - box.x[0])) * (width - left - right);
    const y = (value) => height - bottom - ((value - box.y[0]) / (box.y[1] - box.y[0])) * (height - bottom - top);
    for (const value of xs) {
      element("line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom, class: "grid" }, svg);
      text(svg, x(value), height - bottom + 17, format(value), "middle");
    }
    for (const value of ys) {
      element("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }, svg);
      text(svg, left - 7, y(value) + 5, format(value), "end");
    }
    text(svg, (left + width - right) / 2, height - 6, xLabel, "middle");
    const label = text(svg, 14, (height - bottom + top) / 2, yLabel, "middle");
    label.setAttribute("transform", `rotate(-90 14 ${(height - bottom + top) / 2})`);
    return { x, y };
  }

  function text(svg, x, y, content, anchor, kind) {
    const made = element("text", { x, y, "text-anchor": anchor, class: kind || "label" }, svg);
    made.textContent = content;
    return made;
  }

  function line(svg, points, kind) {
    return element("polyline", { points: points.map((p) => p.join(",")).join(" "), class: kind }, svg);
  }

  function format(value) {
    return String(Math.round(value * 1000) / 1000).replace("-", "\u2212");
  }

  function ticks(low, high, about) {
    const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) found.push(value);
    return found;
  }

  function drawMembrane(svg, thresholds, start, result) {
    const T = thresholds.length;
    const values = [0, start * thresholds[0], ...result.before, ...result.after, ...thresholds];
    const low = Math.min(...values), high = Math.max(...values), room = 0.08 * (high - low || 1);
    const box = { x: [0, T], y: [low - room, high + room] };
    const xs = ticks(0, T, Math.min(T, 8)).filter(Number.isInteger);
    const { x, y } = axes(svg, box, xs, ticks(box.y[0], box.y[1], 5), "timestep t", "membrane");
    line(svg, thresholds.flatMap((v, t) => [[x(t), y(v)], [x(t + 1), y(v)]]), "threshold");
    const path = [[x(0), y(start * thresholds[0])]];
    for (let t = 0; t < T; t++) path.push([x(t + 1), y(result.before[t])], [x(t + 1), y(result.after[t])]);
    line(svg, path, "membrane");
    result.spikes.forEach((z, t) => {
      if (z) element("circle", { cx: x(t + 1), cy: y(result.before[t]), r: 6, class: "spike" }, svg);
    });
  }

  /** The place of a current on the axis; one beyond its end is drawn at the end. */
  function within(value, range) {
    return Math.min(Math.max(value, range[0]), range[1]);
  }

  function drawStaircase(svg, i, bias, thresholds, start, range) {
    const n = 600, top = Math.max(range[1], thresholds[0]) * 1.05;
    const box = { x: range, y: [-0.03 * top, top] };
    const { x, y } = axes(svg, box, ticks(range[0], range[1], 5), ticks(0, top, 5), "current i", "estimate");
    const corner = within(-bias, range), relu = (value) => Math.min(Math.max(0, value + bias), top);
    line(svg, [range[0], corner, within(top - bias, range), range[1]].map((value) => [x(value), y(relu(value))]), "relu");
    const stairs = [];
    for (let k = 0; k <= n; k++) {
      const value = range[0] + ((range[1] - range[0]) * k) / n;
      stairs.push([x(value), y(decode(run(value + bias, thresholds, start).count, thresholds))]);
    }
    line(svg, stairs, "stairs");
    const estimate = decode(run(i + bias, thresholds, start).count, thresholds), place = x(within(i, range));
    element("line", { x1: place, x2: place, y1: y(relu(i)), y2: y(estimate), class: "error" }, svg);
    element("circle", { cx: place, cy: y(estimate), r: 6, class: "here" }, svg);
  }

  function drawError(svg, i, bias, thresholds, start, range) {
    const n = 600, T = thresholds.length, points = [];
    const answer = (value) => run(value + bias, thresholds, start).count;
    const error = (value, count) => Math.max(0, value + bias) - decode(count, thresholds);
    for (let k = 0; k <= n; k++) {
      const value = range[0] + ((range[1] - range[0]) * k) / n, count = answer(value);
      points.push([value, error(value, count), count === T]);
    }
    const values = points.map((p) => p[1]), low = Math.min(0, ...values), high = Math.max(...values), room = 0.08 * (high - low);
    const box = { x: range, y: [low - room, high + room] };
    const { x, y } = axes(svg, box, ticks(range[0], range[1], 5), ticks(box.y[0], box.y[1], 5), "current i", "error: current less estimate");
    for (const full of [false, true]) {
      const part = points.filter((p) => p[2] === full).map((p) => [x(p[0]), y(p[1])]);
      if (!part.length) continue;
      const kind = full ? "overload" : "granular", [at, to] = [part[0][0], part[part.length - 1][0]];
      line(svg, part, kind);
      const [left, above] = [(at + to) / 2 - (full ? 14 : 0), Math.min(...part.map((p) => p[1]))];
      text(svg, left, full ? (above + y(0)) / 2 : above - 8, kind, full ? "end" : "middle");
    }
    element("circle", { cx: x(within(i, range)), cy: y(error(i, answer(i))), r: 6, class: "here" }, svg);
  }

  function drawCurve(svg, values, settings, db) {
    const [low, high] = settings.ranges.threshold, sigma = settings.sigma;
    const points = [];
    for (let k = 0; k <= 120; k++) {
      const threshold = low + ((high - low) * k) / 120;
      points.push([threshold, sqnr(Array(values.T).fill(threshold), values.start, sigma, values.b, 1200)]);
    }
    const top = Math.ceil(Math.max(...points.map((p) => p[1])) + 1);
    const bottom = Math.floor(Math.min(0, ...points.map((p) => p[1])));
    const box = { x: [low, high], y: [bottom, top] };
    const { x, y } = axes(svg, box, ticks(low, high, 5), ticks(bottom, top, 5), "threshold V\u209c\u2095", "SQNR in dB");
    line(svg, points.map((p) => [x(p[0]), y(p[1])]), "stairs");
    for (const mark of settings.marks || []) {
      element("line", { x1: x(mark.at), x2: x(mark.at), y1: y(bottom), y2: y(top), class: "mark" }, svg);
      text(svg, x(mark.at) + 5, y(bottom) - 8, mark.label, "start");
    }
    element("circle", { cx: x(values.threshold), cy: y(db), r: 6, class: "here" }, svg);
  }

  // ---------------------------------------------------------------- the component

  function build(holder, number) {
    const settings = JSON.parse(holder.dataset.settings);
    const values = Object.assign({ i: 0.7, threshold: 1, b: 0, T: 4, start: 0 }, settings.values);
    if (settings.thresholds) values.thresholds = settings.thresholds.slice();
    const panels = settings.panels || ["membrane", "staircase"];

    const controls = document.createElement("div");
    controls.className = "controls";
    const said = document.createElement("p");
    said.className = "said";
    said.setAttribute("role", "status");
    const drawings = document.createElement("div");
    drawings.className = "drawings";
    const svgs = panels.map((panel) => {
      const svg = element("svg", { role: "img", focusable: "false" }, drawings);
      svg.dataset.panel = panel;
      return svg;
    });

    function slider(name, label, range, get, set) {
      const id = `neuron-${number}-${name}`;
      const row = document.createElement("label");
      row.htmlFor = id;
      const caption = document.createElement("span");
      caption.textContent = label;
      const input = document.createElement("input");
      Object.assign(input, { type: "range", id, min: range[0], max: range[1], step: range[2], value: get() });
      const shown = document.createElement("span");
      shown.className = "value";
      shown.setAttribute("aria-hidden", "true"); // the slider says its value itself
      const show = () => (shown.textContent = format(get()));
      input.addEventListener("input", () => {
        set(Number(input.value));
        show();
        draw();
      });
      show();
      row.append(caption, input, shown);
      controls.appendChild(row);
    }

    for (const name in settings.ranges) {
      slider(name, NAMES[name], settings.ranges[name], () => values[name], (value) => (values[name] = value));
    }
    (values.thresholds || []).forEach((_, t) => {
      const set = (value) => (values.thresholds[t] = value);
      slider(`threshold-${t + 1}`, `threshold V(${t + 1})`, settings.thresholdRange, () => values.thresholds[t], set);
    });

    let waiting;

    /** Say it once the slider rests: a screen reader reads all of it aloud each time. */
    function say(words) {
      clearTimeout(waiting);
      waiting = setTimeout(() => (said.textContent = words), said.textContent ? 300 : 0);
    }

    function draw() {
      const thresholds = values.thresholds || Array(values.T).fill(values.threshold);
      const current = values.i + values.b;
      const result = run(current, thresholds, values.start);
      const estimate = decode(result.count, thresholds), error = Math.max(0, current) - estimate;
      const size = format(Math.abs(error));
      const missed = size === "0" ? "which is right" : `${size} too ${error > 0 ? "little" : "much"}`;
      const db = sqnr(thresholds, values.start, settings.sigma, values.b);
      const when = result.spikes.flatMap((z, t) => (z ? [t + 1] : []));
      const spikes = result.count === 1 ? "1 spike" : `${result.count} spikes`;
      const at = when.length ? ` (at t = ${when.join(", ")})` : "";
      const words =
        `${spikes} in ${thresholds.length} timesteps${at}. The current ${format(current)} is read as ` +
        `${format(estimate)}, ${missed}. For a Gaussian current with standard deviation ` +
        `${format(settings.sigma)} the SQNR is ${db.toFixed(1).replace("-", "\u2212")} dB.`;
      say(words);
      for (const svg of svgs) {
        const panel = svg.dataset.panel;
        if (panel === "membrane") drawMembrane(svg, thresholds, values.start, result);
        else if (panel === "staircase") drawStaircase(svg, values.i, values.b, thresholds, values.start, settings.range);
        else if (panel === "error") drawError(svg, values.i, values.b, thresholds, values.start, settings.range);
        else drawCurve(svg, values, settings, db);
        svg.setAttribute("aria-label", LABELS[panel]);
      }
    }

    holder.replaceChildren(controls, drawings, said);
    holder.classList.add("alive");
    draw();
  }

  function start() {
    document.querySelectorAll(".moving-neuron").forEach(build);
  }

  if (typeof document !== "undefined") {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  }

  return { run, decode, sqnr };
});
