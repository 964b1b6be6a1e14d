// Requests: how many, how long, how long they waited.
const rateText = (value, isTick) => (isTick ? figure(value) : `${figure(value)}/s`);
const inFlight = (value) => figure(value);
const LEVELS = [50, 95, 99];

function drawRequests() {
  const part = run.requests;
  if (!part.latency.length && !Object.keys(part.rate).length) {
    return section("requests", "Requests", el("p", { className: "note" }, "No requests: neither an app nor an adapter wrote any, and no load generator."));
  }
  return section("requests", "Requests", el("div", { className: "grid" }, [drawInFlight(part), drawRate(part),
    drawCurve("Response time", part.latency), drawCurve("Wait before service", part.stamped ? part.wait : []),
    drawDensity(part), drawFailures(part)]), el("p", { className: "note" }, missing(part)));
}

// What is not drawn, and why.
function missing(part) {
  if (!part.latency.length) return "Nobody told how long a request took.";
  if (!part.stamped) return "No wait is shown: nobody saw one. A proxy in front of the app that stamps what comes in (X-Request-Start) would tell.";
  return part.density.some(([, y]) => y !== null) ? "" : "No request waited.";
}

const byNode = (values) => Object.entries(values).map(([node, one]) => ({ label: node, colour: nodeColour(node), values: one }));

function drawInFlight(part) {
  const parts = frame("Requests in flight", "lines: mean, from begin and end of each; dots: most, as the app counted");
  const lines = byNode(part.in_flight).map((one) => ({ ...one, steps: true }));
  const dots = byNode(part.sampled_in_flight).map((one) => ({ ...one, label: `${one.label}, counted`, dots: true, values: one.values.map((value) => value || undefined) }));
  if (!lines.length && !dots.length) return null;
  queueMicrotask(() => timeChart(parts, { x: bucketTimes(), format: inFlight, shades: shadesOf("", nodeNames), series: [...lines, ...dots] }));
  return parts.panel;
}

function drawRate(part) {
  const series = byNode(part.rate).map((one) => ({ ...one, steps: true }));
  if (!series.length) return null;
  const parts = frame("Requests completed", "a second");
  queueMicrotask(() => timeChart(parts, { x: bucketTimes(), format: rateText, shades: shadesOf("", nodeNames), series }));
  return parts.panel;
}

const curveColour = (one) => (one.is_client ? css("--text") : nodeColour(one.name));
const curveName = (one) => (one.is_client ? "client" : one.name);

// Share of requests that took no longer, over a logarithmic axis; p50, p95 and p99 as lines and in figures.
function drawCurve(title, curves) {
  if (!curves.length) return null;
  const parts = frame(title, "percent of requests that took no longer");
  const rows = curves.map((one) => [el("span", {}, dot(curveColour(one)), named(curveName(one))), one.count.toLocaleString("en"), ...one.quantiles.map(figure), figure(one.most)]);
  parts.legend.append(table(["ms", "requests", "p50", "p95", "p99", "most"], rows, [1, 2, 3, 4, 5]));
  queueMicrotask(() => plotCurves(parts, curves));
  return parts.panel;
}

function plotCurves(parts, curves) {
  const tables = curves.map((one) => {
    const points = one.curve.map(([at, share]) => [Math.max(at, 0.001), share]);
    if (points.length === 1) points.unshift([points[0][0] * 0.99, 0]);
    return [points.map(([at]) => at), points.map(([, share]) => share)];
  });
  const data = uPlot.join(tables);
  const first = data[0][0], last = data[0][data[0].length - 1];
  const show = (u) => { parts.at.textContent = u.cursor.left >= 0 ? curveAt(curves, u.posToVal(u.cursor.left, "x")) : ""; };
  plot(parts, {
    height: 190, cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
    scales: { x: { distr: 3, time: false, range: () => [first / 1.15, Math.max(last, first * 2) * 1.15] }, y: { range: [0, 104] } },
    axes: [logAxis({ size: 26 }), axis({ size: 54, values: (u, splits) => splits.map((one) => `${one} %`), splits: () => [0, 25, 50, 75, 100] })],
    series: [{}, ...curves.map((one) => ({ stroke: curveColour(one), width: 1.6, dash: one.is_client ? [5, 3] : undefined, points: { show: false } }))],
    hooks: { drawClear: [levels], setCursor: [show] },
  }, data);
}

const curveAt = (curves, at) => `${ms(at)}: ${curves.slice(0, 4).map((one) => `${curveName(one)} ${figure(shareAt(one, at))} %`).join(", ")}`;
function shareAt(one, at) {
  let share = 0;
  for (const [value, known] of one.curve) if (value <= at) share = known;
  return share;
}

function levels(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = css("--soft");
  ctx.fillStyle = css("--soft");
  ctx.font = `${px(10.5)}px ${FONT}`;
  ctx.textAlign = "right";
  ctx.setLineDash([px(2), px(3)]);
  for (const level of LEVELS) {
    const y = u.valToPos(level, "y", true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(`p${level}`, bbox.left + px(28), level === 95 ? y + px(11) : y - px(2)); // 95 and 99 lie close together
  }
  ctx.restore();
}

// Queue against service time: how many requests lie in each cell of a logarithmic grid.
function drawDensity(part) {
  if (!part.density.some(([x, y]) => x !== null && y !== null)) return null;
  const parts = frame("Wait against service", "logarithmic; stronger colour: more requests");
  queueMicrotask(() => plotDensity(parts, part));
  return parts.panel;
}

function plotDensity(parts, part) {
  const each = part.cells_a_decade;
  const edge = (cell) => 10 ** (cell / each);
  const known = (at) => part.density.map((one) => one[at]).filter((one) => one !== null);
  const lowX = Math.min(...known(0)), lowY = Math.min(...known(1)) - 2; // two cells below: those that did not wait
  const cellOf = ([x, y]) => [x === null ? lowX : x, y === null ? lowY : y];
  const most = Math.max(...part.density.map((one) => one[2]));
  const draw = (u) => {
    for (const one of part.density) {
      const [x, y] = cellOf(one);
      const left = u.valToPos(edge(x), "x", true), top = u.valToPos(edge(y + 1), "y", true);
      u.ctx.globalAlpha = 0.12 + (0.88 * Math.log1p(one[2])) / Math.log1p(most);
      u.ctx.fillStyle = css("--c0");
      u.ctx.fillRect(left, top, u.valToPos(edge(x + 1), "x", true) - left - px(0.5), u.valToPos(edge(y), "y", true) - top - px(0.5));
    }
    u.ctx.globalAlpha = 1;
  };
  const show = (u) => {
    const under = (scale, at) => Math.floor(Math.log10(u.posToVal(at, scale)) * each);
    const [x, y] = [under("x", u.cursor.left), under("y", u.cursor.top)];
    const found = part.density.find((one) => cellOf(one)[0] === x && cellOf(one)[1] === y);
    parts.at.textContent = u.cursor.left < 0 || !found ? ""
      : `${count(found[2], "request")}: service ${ms(edge(x))} to ${ms(edge(x + 1))}, wait ${found[1] === null ? "none" : `${ms(edge(y))} to ${ms(edge(y + 1))}`}`;
  };
  const rangeX = [edge(lowX - 3), edge(Math.max(...known(0)) + 4)], rangeY = [edge(lowY), edge(Math.max(...known(1)) + 1)];
  parts.legend.append("across: service time; up: wait, the lowest row: none");
  plot(parts, {
    height: 210, cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { distr: 3, time: false, range: rangeX }, y: { distr: 3, range: rangeY } },
    axes: [logAxis({ size: 26 }), logAxis({ size: 58 })], series: [{}, {}], hooks: { draw: [draw], setCursor: [show] },
  }, [rangeX, [undefined, undefined]]);
}

function drawFailures(part) {
  if (!part.failed.length) return null;
  const rows = part.failed.map(([what, number]) => [number.toLocaleString("en"), named(what)]);
  return el("div", { className: "panel" }, el("h3", {}, "Failures"), table(["requests", "what"], rows, [0]));
}
