// Nodes over time: host CPU, memory and NIC; processes; where the instances of the app were.
const HOSTS = {
  cpu: ["CPU", "percent of all cores", "cpu"],
  memory: ["Free memory", "GB (10⁹ bytes)", "mem"],
  receive: ["Received by the primary NIC", "bytes a second", "nic"],
  transmit: ["Sent by the primary NIC", "bytes a second", "nic"],
};
const slotMs = (slot) => grid.start_ms + (slot * grid.width_ms) / 2;
const bucketTimes = () => Array.from({ length: grid.count }, (_, at) => (grid.start_ms + at * grid.width_ms) / 1e3);
const percent = (value, isTick) => (isTick ? `${value} %` : `${figure(value)} %`);
const gigabytes = (value, isTick) => `${figure(value / 1000)}${isTick ? "" : " GB"}`;
function bytes(value) {
  const [size, unit] = value >= 1e9 ? [1e9, "GB/s"] : value >= 1e6 ? [1e6, "MB/s"] : value >= 1e3 ? [1e3, "kB/s"] : [1, "B/s"];
  return `${figure(value / size)} ${unit}`;
}
const cores = (value, isTick) => (isTick ? figure(value) : `${figure(value)} cores`);
const FORMATS = { cpu: percent, memory: gigabytes, receive: bytes, transmit: bytes };

function drawHosts() {
  const panels = run.charts.filter((chart) => chart.series.length).map(drawHost);
  if (!panels.length) return section("hosts", "Nodes", el("p", { className: "note" }, "No samples of the hosts: nothing was collected on these nodes, or none of it parsed."));
  return section("hosts", "Nodes", el("div", { className: "grid" }, panels));
}

function drawHost(chart) {
  const [title, unit, series] = HOSTS[chart.name];
  const parts = frame(title, unit);
  const nodes = chart.series.map((one) => one.node);
  const shades = shadesOf(series, nodes);
  const [x, values] = withGaps(chart, shades);
  queueMicrotask(() => timeChart(parts, {
    x, shades, format: FORMATS[chart.name], top: chart.name === "cpu" ? 100 : null,
    series: chart.series.map((one, at) => ({ label: one.node, colour: nodeColour(one.node), values: values[at] })),
  }));
  return parts.panel;
}

// Where a slot has no sample: null in a gap, which breaks the line, else undefined, which does not.
function withGaps(chart, shades) {
  const times = chart.slots.map((slot) => [slotMs(slot), slot]);
  shades.forEach((one) => times.push([(one.from + one.to) / 2, null]));
  times.sort((a, b) => a[0] - b[0]);
  const place = new Map(chart.slots.map((slot, at) => [slot, at]));
  const values = chart.series.map((one) => {
    const own = shades.filter((stretch) => stretch.node === one.node);
    return times.map(([at, slot]) => {
      const value = slot === null ? null : one.values[place.get(slot)];
      if (value !== null) return value;
      return own.some((stretch) => at >= stretch.from && at < stretch.to) ? null : undefined;
    });
  });
  return [times.map(([at]) => at / 1e3), values];
}

function drawProcesses() {
  const { stacks, left_out } = run.processes;
  if (!stacks.length) {
    return section("processes", "Processes", el("p", { className: "note" }, "No process rows: nothing matched PROC_MATCH or CONTAINER, or neither was given."));
  }
  const note = "Cores in use, stacked. Unattributed is CPU of the target that no process can be given. The dashed line is the whole host; where that is far higher, a click on its key shows it."
    + (left_out ? ` ${count(left_out, "node")} with less CPU not shown.` : "");
  return section("processes", "Processes", el("p", { className: "note" }, note), el("div", { className: "grid" }, stacks.map(drawStack)));
}

const partColour = (one, at) => (one.name === "unattributed" && !one.pid ? css("--unattributed") : one.pid ? hue(at) : css("--others"));
const partLabel = (one) => (one.pid ? `${one.name || "?"} ${one.pid}` : one.name);

function drawStack(stack) {
  const parts = frame(el("span", {}, dot(nodeColour(stack.node)), named(stack.node)), "cores", processTable(stack));
  const shades = shadesOf("proc", [stack.node]);
  const x = bucketTimes();
  const sums = x.map(() => 0);
  // Each band is drawn to its sum with those below it; the topmost first, so that none is hidden.
  const bands = stack.parts.map((one, at) => {
    const values = one.values.map((value, bucket) => (sums[bucket] += value));
    const colour = partColour(one, at);
    return { label: partLabel(one), title: one.command, colour, fill: colour, steps: true, width: 0.5, values, own: one.values };
  });
  const isLost = x.map((at, bucket) => sums[bucket] === 0 && shades.some((one) => at * 1e3 >= one.from && at * 1e3 < one.to));
  bands.forEach((one) => { one.values = one.values.map((value, bucket) => (isLost[bucket] ? null : value)); });
  const lines = [];
  const sampled = (values) => values.map((value, bucket) => value ?? (isLost[bucket] ? null : undefined));
  if (stack.peaks) lines.push({ label: "most in one tick", colour: css("--text"), width: 0.8, values: sampled(stack.peaks) });
  if (stack.host) lines.push({ label: "whole host", colour: css("--soft"), width: 1.2, dash: [4, 3], values: sampled(stack.host), isOff: Math.max(...stack.host) > 3 * Math.max(...sums) });
  queueMicrotask(() => timeChart(parts, { x, shades, format: cores, height: 184, series: [...bands.reverse(), ...lines] }));
  return parts.panel;
}

function processTable(stack) {
  const row = (one, at) => [el("span", {}, dot(partColour(one, at)), named(partLabel(one))), figure(one.cpu_ms / 1000),
    one.rss_kb ? figure((one.rss_kb * 1024) / 1e6) : "–", el("span", { className: "soft" }, named(one.command || ""))];
  const heads = ["process", "CPU s", "peak RSS MB", "command line"];
  return el("details", {}, el("summary", {}, "processes in figures"), table(heads, stack.parts.map(row), [1, 2]));
}

function drawPlacement() {
  const { lanes, left_out } = run.placement;
  if (!lanes.length) return null;
  const rows = [];
  lanes.forEach((one, at) => {
    if (at === 0 || lanes[at - 1].node !== one.node) rows.push({ label: one.node, colour: nodeColour(one.node) });
    rows.push({ label: one.instance, draw: (u, ctx, top, height) => drawStays(u, ctx, one, top, height) });
  });
  const parts = frame("Instances", "from start to stop");
  queueMicrotask(() => laneChart(parts, rows, { row: 17, gutter: 110 }));
  return section("placement", "Placement", parts.panel,
    left_out ? el("p", { className: "note" }, `${count(left_out, "more instance")} not shown.`) : null);
}

function drawStays(u, ctx, one, top, height) {
  const [low, high] = [u.scales.x.min * 1e3, u.scales.x.max * 1e3];
  for (const [from, to] of one.stays) {
    const left = u.valToPos(Math.max(from ?? low, low) / 1e3, "x", true);
    ctx.globalAlpha = to === null ? 0.45 : 0.8; // paler: nobody told of its end
    bar(u, ctx, from ?? low, to ?? high, top + height * 0.12, height * 0.76, nodeColour(one.node));
    ctx.globalAlpha = 1;
    ctx.font = `${px(10.5)}px ${FONT}`;
    ctx.fillStyle = css("--panel");
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    const room = u.valToPos(Math.min(to ?? high, high) / 1e3, "x", true) - left - px(10);
    const words = `${one.module}${to === null ? " (no stop told)" : ""}`;
    if (room > px(24)) ctx.fillText(fitting(ctx, words, room), left + px(5), top + height / 2);
  }
}
