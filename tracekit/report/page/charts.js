// Charts with uPlot. All that have a time axis share cursor and zoom; drag to zoom, double click to see all again.
const live = []; // every chart, so that another colour scheme or width can draw them anew
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const SYNC = "time";
const px = (size) => size * devicePixelRatio;
const isNarrow = () => innerWidth <= 760;

// The frame of a chart: title, unit, what is under the cursor, legend; and where it is drawn.
function frame(title, unit, extra) {
  const parts = {
    at: el("span", { className: "at" }),
    legend: el("div", { className: "legend" }),
    plot: el("div", { className: "plot", role: "img", ariaLabel: `Chart: ${title.textContent ?? title}, ${unit}` }),
  };
  const head = el("div", { className: "head" }, el("h3", {}, title), el("span", { className: "unit" }, unit), parts.at);
  parts.panel = el("div", { className: "panel" }, head, parts.plot, parts.legend, extra);
  return parts;
}

function axis(more) {
  return {
    stroke: css("--soft"), font: `11px ${FONT}`, grid: { stroke: css("--grid"), width: 1 },
    ticks: { stroke: css("--line"), width: 1, size: 4 }, gap: 4, ...more,
  };
}

const hhmm = [[3600, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
  [0.001, ":{ss}.{fff}", "\n{HH}:{mm}", null, null, null, null, null, 1]];

function timeAxis(more) {
  return axis({ size: 26, space: isNarrow() ? 48 : 64, values: hhmm, ...more });
}

// Put a chart where its frame is, as wide as that, and keep it so.
function plot(parts, options, data) {
  const width = () => Math.max(parts.plot.clientWidth, 120);
  const chart = new uPlot({ legend: { show: false }, tzDate: utc, ...options, width: width() }, data, parts.plot);
  const watch = new ResizeObserver(() => chart.setSize({ width: width(), height: options.height }));
  watch.observe(parts.plot);
  live.push({ chart, watch });
  return chart;
}
const utc = (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC");

// Where a series has no value under the cursor, the nearest one: of its own sampling, not of a gap.
function nearest(u, series, at) {
  const values = u.data[series];
  if (values[at] !== undefined) return at;
  for (let far = 1; far <= 4; far++) {
    if (values[at - far] !== undefined) return at - far;
    if (values[at + far] !== undefined) return at + far;
  }
  return at;
}

const timeCursor = () => ({
  sync: { key: SYNC, scales: ["x", null] }, y: false, drag: { x: true, y: false }, dataIdx: nearest,
  points: { size: 6 },
});
const timeScale = () => ({ time: true, range: (u, low, high) => (zoomed(u, low, high) ? [low, high] : bounds()) });
const bounds = () => [grid.start_ms / 1e3, Math.max(grid.end_ms, grid.start_ms + 1000) / 1e3];
const zoomed = (u, low, high) => low !== null && (low > u.data[0][0] || high < u.data[0][u.data[0].length - 1]);

const timeUnder = (u) => (u.cursor.left >= 0 ? `${clock(u.posToVal(u.cursor.left, "x") * 1e3)} UTC` : "UTC");

// Lines over time. series: {label, colour, values, dash?, fill?, steps?, dots?}; shades: see shade().
function timeChart(parts, { x, series, format, top, height = 170, shades = [] }) {
  parts.at.textContent = "UTC";
  const keys = legendOf(parts, series, (number, isShown) => chart.setSeries(number + 1, { show: isShown }));
  const show = (u) => {
    const at = u.cursor.left >= 0 ? u.cursor.idx : null;
    parts.at.textContent = timeUnder(u);
    keys.forEach((key, number) => {
      if (!key) return;
      const value = at === null ? undefined : (series[number].own || u.data[number + 1])[nearest(u, number + 1, at)];
      key.textContent = at === null ? "" : value === null || value === undefined ? "no sample" : format(value);
    });
  };
  const chart = plot(parts, {
    height, cursor: timeCursor(), padding: [20, 26, 0, 0],
    scales: { x: timeScale(), y: { range: (u, low, high) => [0, top || Math.max(high || 0, 1e-9) * 1.12] } },
    axes: [timeAxis(), axis({ size: 64, space: 34, values: (u, splits) => splits.map((one) => format(one, true)) })],
    series: [{}, ...series.map(styled)],
    hooks: { drawClear: [(u) => shade(u, shades)], draw: [(u) => captions(u, shades)], setCursor: [show] },
  }, [x, ...series.map((one) => one.values)]);
}

function styled(one) {
  const dots = { show: true, size: 4, stroke: one.colour, fill: one.colour };
  return {
    label: one.label, show: !one.isOff, stroke: one.colour, width: one.dots ? 0 : one.width || 1.4, fill: one.fill, dash: one.dash,
    paths: one.dots ? () => null : one.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
    points: one.dots ? dots : { show: one.values.filter((value) => value !== null && value !== undefined).length < 3 },
  };
}

// A key for each series, which a click shows or hides; but for bands, which stand on each other.
function legendOf(parts, series, onToggle) {
  return series.map((one, number) => {
    if (one.dots) return null; // of the colour of its line
    const value = el("b");
    const inside = [dot(one.colour, one.dash ? "rule" : ""), named(one.label), value];
    if (one.fill) {
      parts.legend.append(el("span", { title: one.title || "" }, inside));
      return value;
    }
    const key = el("button", { type: "button", title: "show or hide" }, inside);
    const press = (isShown) => key.setAttribute("aria-pressed", isShown);
    key.addEventListener("click", () => {
      const isShown = key.getAttribute("aria-pressed") !== "true";
      press(isShown);
      onToggle(number, isShown);
    });
    press(!one.isOff);
    parts.legend.append(key);
    return value;
  });
}

// Shade stretches of time {from, to} in ms: what was lost, and what a clock that was stepped jumped over.
function shade(u, stretches, top = u.bbox.top, height = u.bbox.height) {
  within(u, () => {
    for (const one of stretches) {
      const left = u.valToPos(one.from / 1e3, "x", true);
      hatch(u.ctx, left, top, Math.max(u.valToPos(one.to / 1e3, "x", true) - left, px(2)), height, one.isStep ? "--step" : "--gap");
      if (one.isStep) bar(u, u.ctx, one.from, one.from, top, height, css("--step"));
    }
  });
}

function within(u, draw) {
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
  draw();
  u.ctx.restore();
}

// Name the stretches, above the plot, where there is room.
function captions(u, stretches) {
  let free = u.bbox.left;
  for (const one of [...stretches].sort((a, b) => a.from - b.from)) {
    const [left, right] = [one.from, one.to].map((at) => u.valToPos(at / 1e3, "x", true));
    if (right >= u.bbox.left) free = caption(u, one.text, left, right, u.bbox.top - px(6), css(one.isStep ? "--step" : "--gap"), free);
  }
}

function hatch(ctx, left, top, width, height, colour) {
  ctx.save();
  ctx.fillStyle = css(`${colour}-fill`);
  ctx.fillRect(left, top, width, height);
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.strokeStyle = css(colour);
  ctx.globalAlpha = 0.45;
  ctx.lineWidth = px(1);
  ctx.beginPath();
  for (let x = left - height; x < left + width; x += px(7)) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

// A text over left to right, or as near as it fits; left out where it would run into the one before.
// Returns where the next one may begin.
function caption(u, text, left, right, y, colour, free) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `${px(11)}px ${FONT}`;
  const wide = ctx.measureText(text).width;
  const at = Math.min(Math.max(left, Math.min(free, right)), bbox.left + bbox.width - wide);
  if (at >= free) {
    ctx.fillStyle = colour;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.fillText(isolated(text), at, y);
  }
  ctx.restore();
  return at >= free ? at + wide + px(10) : free;
}

// A duration as a logarithmic axis shows it.
const ms = (value) => (value >= 1000 ? `${figure(value / 1000)} s` : `${figure(value)} ms`);
const logAxis = (more) => axis({ splits: (u, number, low, high) => logSplits(low, high), filter: (u, splits) => splits, values: (u, splits) => splits.map(ms), ...more });

// 1, 2, 5, 10, ... between the two; powers of ten alone where those are enough.
function logSplits(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) all.push(...steps.map((step) => step * 10 ** power));
  return all.filter((one) => one >= low && one <= high);
}

function forget() {
  for (const { chart, watch } of live.splice(0)) {
    watch.disconnect();
    chart.destroy();
  }
}
