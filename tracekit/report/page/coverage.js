// Which series of which node has samples when, and what went wrong, at a glance and in words.
const SERIES = ["cpu", "mem", "nic", "proc"];
const LANE_NODES = 8;
const KINDS = {
  gap: "gap", died: "collector ended", killed: "collector killed at the end", stall: "stall", clock_step: "clock step",
  link_down: "link down", renamed: "NIC renamed", gone: "NIC gone", reset: "counter reset", missed: "tick missed",
  enospc: "disk full", write_error: "write error", exits_lost: "exit records lost", clock_lost: "clock lost",
  container_absent: "container absent", container_restart: "container restarted",
};

function drawCoverage() {
  if (!card.nodes.some((one) => Object.keys(one.series).length)) return null;
  const trouble = (one) => card.gaps.concat(card.events).filter((mark) => mark.node === one.node).length;
  const shown = [...card.nodes].sort((a, b) => trouble(b) - trouble(a)).slice(0, LANE_NODES);
  const nodes = card.nodes.filter((one) => shown.includes(one));
  const rows = nodes.flatMap((node) => [{ label: node.node, colour: nodeColour(node.node) },
    ...SERIES.filter((name) => name in node.series).map((name) => coverageRow(node, name))]);
  const parts = frame("Samples by series", "over time");
  const rest = card.nodes.length - nodes.length;
  const note = rest ? `The ${nodes.length} nodes with most to tell; ${count(rest, "node")} not shown.` : "";
  const made = section("coverage", "What was recorded", parts.panel, el("p", { className: "note" }, note), drawEvents());
  queueMicrotask(() => laneChart(parts, rows, { gutter: 76, after: (u, each) => drawTroubles(u, rows, each) }));
  return made;
}

function coverageRow(node, name) {
  const gaps = card.gaps.filter((one) => one.node === node.node && one.series.includes(name));
  const deaths = card.events.filter((one) => one.node === node.node && one.kind === "died" && one.collector === name);
  const jumps = steps.filter((one) => one.node === node.node && one.step_ms > 0).map(stretch);
  const draw = (u, ctx, top, height) => {
    const bar0 = top + height * 0.22, tall = height * 0.56;
    ctx.globalAlpha = 0.75;
    bar(u, ctx, node.started_ms ?? grid.start_ms, node.stopped_ms ?? grid.end_ms, bar0, tall, nodeColour(node.node));
    ctx.globalAlpha = 1;
    for (const one of gaps) {
      const left = u.valToPos(one.from / 1e3, "x", true);
      const width = Math.max(u.valToPos(one.to / 1e3, "x", true) - left, px(2));
      bar(u, ctx, one.from, one.to, top, height, css("--panel"));
      hatch(ctx, left, bar0, width, tall, "--gap");
      inside(ctx, gapText(one), left, width, top, height);
    }
    for (const one of jumps) bar(u, ctx, one.from, one.to, top, height, css("--panel"));
    for (const one of deaths) flag(u, ctx, one.at, top, height);
  };
  return { label: name, draw };
}

// A text in the middle of a stretch, where there is room for it.
function inside(ctx, text, left, width, top, height) {
  ctx.font = `${px(10.5)}px ${FONT}`;
  const wide = ctx.measureText(text).width;
  if (wide + px(8) > width) return;
  ctx.fillStyle = css("--panel");
  ctx.fillRect(left + (width - wide) / 2 - px(3), top + px(1), wide + px(6), height - px(2));
  ctx.fillStyle = css("--gap");
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(text, left + width / 2, top + height / 2);
}

function flag(u, ctx, at, top, height) {
  const x = u.valToPos(at / 1e3, "x", true);
  ctx.fillStyle = css("--killed");
  ctx.fillRect(x - px(1), top, px(2), height);
  ctx.beginPath();
  ctx.moveTo(x, top);
  ctx.lineTo(x + px(8), top + height / 2);
  ctx.lineTo(x, top + height);
  ctx.fill();
}

// Clock steps over all rows of their node; and in the row of its name the words for these and for collectors that ended.
function drawTroubles(u, rows, each) {
  const heads = rows.map((row, at) => (row.colour ? at : -1)).filter((at) => at >= 0);
  heads.forEach((head, number) => {
    const top = u.bbox.top + head * each, below = heads[number + 1] ?? rows.length;
    const told = card.events.filter((one) => one.node === rows[head].label && (one.kind === "died" || one.kind === "clock_step"));
    shade(u, told.filter((one) => one.kind === "clock_step").map((one) => ({ ...stretch(one), isStep: true })), top + each, (below - head - 1) * each);
    let free = u.bbox.left;
    for (const one of told) {
      const words = one.kind === "died" ? `${one.collector} ended: ${one.words || "nobody knows why"}` : stepText(one);
      const [left, right] = [one.at, one.to ?? one.at].map((at) => u.valToPos(at / 1e3, "x", true));
      free = caption(u, words, left, right, top + each - px(4), css(one.kind === "died" ? "--killed" : "--step"), free);
    }
  });
}

function drawEvents() {
  const gaps = card.gaps.map((one) => ({ node: one.node, at: one.from, kind: "gap", where: one.series.join(", "), words: `${lasting(one.to - one.from)}: ${one.reason}` }));
  const others = card.events.map((one) => ({ ...one, where: one.collector, words: one.words || (one.step_ms === null ? "" : seconds(one.step_ms)) }));
  const all = [...gaps, ...others].sort((a, b) => a.at - b.at);
  if (!all.length) return el("p", { className: "note" }, "No gap, no clock step, and no collector ended before its time.");
  const row = (one) => [el("span", { className: "whole" }, clock(one.at)), named(one.node), el("span", { className: `kind ${one.kind}` }, KINDS[one.kind] || named(one.kind)),
    named(one.where), named(one.words)];
  const heads = ["UTC", "node", "what", "series", "told"];
  const first = table(heads, all.slice(0, 12).map(row));
  if (all.length <= 12) return first;
  return el("div", {}, first, el("details", {}, el("summary", {}, `and ${all.length - 12} more`), table(heads, all.slice(12).map(row))));
}
