// The run card: what the run was, and how far it can be trusted.
const CARDS = 8; // of nodes in full; with many more, the others fold
const steps = card.events.filter((one) => one.kind === "clock_step");
const stepText = (one) => `clock ${one.step_ms === null ? "stepped" : seconds(one.step_ms)}`;
const gapText = (one) => `gap ${lasting(one.to - one.from)}: ${one.reason}`;

// What to shade in a chart of these nodes: the gaps of a series, if one is meant, and the steps of their clocks.
function shadesOf(series, nodes) {
  const of = (one) => (nodeNames.length > 1 ? `${one.node}: ` : "");
  const gaps = card.gaps.filter((one) => one.series.includes(series) && nodes.includes(one.node));
  const jumps = steps.filter((one) => nodes.includes(one.node));
  return [...gaps.map((one) => ({ ...one, text: of(one) + gapText(one) })),
    ...jumps.map((one) => ({ node: one.node, ...stretch(one), isStep: true, text: of(one) + stepText(one) }))];
}
// A step forward jumps over a stretch of the wall clock; a step back takes none.
const stretch = (one) => (one.step_ms > 0 && one.to ? { from: one.at, to: one.to } : { from: one.at, to: one.at });

function drawCard() {
  const began = Math.min(...card.nodes.map((one) => one.started_ms || grid.start_ms), grid.end_ms);
  const title = el("header", {}, el("h1", {}, named(`Run ${card.run_id}`)),
    el("p", { className: "soft" }, `${day(began)}, ${clock(began)} to ${clock(grid.end_ms)} UTC · Tracekit ${card.version}`));
  return [title, drawTiles(began), ...drawNodes()];
}

function drawNodes() {
  const many = (nodes) => el("div", { className: "nodes" }, nodes.map(drawNode));
  if (card.nodes.length <= CARDS + 4) return [many(card.nodes)];
  const rest = card.nodes.slice(CARDS);
  return [many(card.nodes.slice(0, CARDS)), el("details", {}, el("summary", {}, `and ${rest.length} more nodes`), many(rest))];
}

function drawTiles(began) {
  const tile = (value, words, isBad) => el("div", { className: isBad ? "tile bad" : "tile" }, el("b", {}, value), el("span", {}, words));
  const died = card.events.filter((one) => one.kind === "died").length;
  const lines = card.lines;
  const lost = lines.rejected;
  const { served, failed } = run.requests;
  const failures = failed.reduce((sum, [, number]) => sum + number, 0);
  const lasted = Math.max(...card.nodes.map((one) => one.lasted_ms || 0)) || grid.end_ms - began;
  return el("div", { className: "tiles" },
    tile(lasting(lasted), "recorded"),
    tile(card.nodes.length, card.nodes.length === 1 ? "node" : "nodes"),
    served ? tile(served.toLocaleString("en"), "requests served") : null,
    served ? tile(failures.toLocaleString("en"), "failed", failures) : null,
    tile(card.gaps.length || "none", card.gaps.length === 1 ? "gap" : "gaps", card.gaps.length),
    tile(steps.length || "none", steps.length === 1 ? "clock step" : "clock steps", steps.length),
    tile(died || "none", died === 1 ? "collector ended early" : "collectors ended early", died),
    tile(card.balanced ? "all" : "not all", `of ${count(lines.read, "line")} accounted for`, !card.balanced),
    lost ? tile(lost.toLocaleString("en"), "lines rejected", true) : null);
}

function drawNode(one) {
  const row = (term, words) => (words ? [el("dt", {}, term), el("dd", {}, words)] : []);
  const machine = [one.cores ? count(one.cores, "core") : null, one.mhz ? `${figure(one.mhz / 1000)} GHz` : "clock rate unknown",
    one.mem_mb ? `${figure(one.mem_mb / 1000)} GB` : null].filter(Boolean).join(", ");
  const series = Object.entries(one.series).map(([name, [got, expected]]) => `${name} ${got}/${expected}`).join(", ");
  const share = one.cost_ms && one.lasted_ms ? ` (${((100 * one.cost_ms) / one.lasted_ms).toFixed(2)} % of a core)` : "";
  const cost = one.cost_ms === null ? "not told" : `${figure(one.cost_ms / 1000)} s of CPU${share}`;
  return el("div", { className: "panel node" },
    el("h3", {}, dot(nodeColour(one.node)), named(one.node), el("span", { className: "soft" }, one.stage ? ` ${one.stage}` : "")),
    el("dl", {}, row("machine", machine), row("processor", one.model ? named(one.model) : null), row("clock", clockWords(one.clock)),
      row("samples", series || "no account of samples"),
      row("gaps", one.gaps ? `${one.gaps}, ${lasting(one.gap_ms)} together` : "none"), row("collecting", cost)));
}

function clockWords(one) {
  if (!one || !one.source) return "error unknown: no time service could be asked";
  const error = one.error_ms === null ? "error unknown" : `within ${figure(one.error_ms)} ms`;
  const offset = one.offset_ms === null ? "" : `, ${figure(one.offset_ms)} ms off`;
  return `${one.source}: ${error}${offset}${one.synchronised === false ? ", not synchronised" : ""}`;
}
