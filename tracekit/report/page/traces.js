// The slowest traces; a click on one opens its waterfall, with the path that set its duration.
let chosen = 0;

function drawTraces() {
  if (!run.traces.length) return null;
  const view = el("div", { className: "panel", id: "waterfall" });
  const buttons = run.traces.map((one, at) => {
    const button = el("button", { type: "button", title: one.trace_id }, el("span", { className: "clip" }, named(one.name || one.trace_id)), el("b", {}, ms(one.took_ms)),
      el("span", { className: "soft clip" }, `${clock(one.start_ms)} · `, named(one.nodes.join(", "))));
    button.addEventListener("click", () => open(at));
    return button;
  });
  const open = (at) => {
    chosen = at;
    buttons.forEach((button, number) => button.setAttribute("aria-pressed", number === at));
    view.replaceChildren(...drawWaterfall(run.traces[at]));
  };
  open(chosen);
  return section("traces", "Slowest traces", el("div", { className: "traces" }, el("div", { className: "panel list" }, buttons), view));
}

function drawWaterfall(trace) {
  const end = Math.max(...trace.spans.map((one) => one.to), 0.001);
  const head = el("div", { className: "head" }, el("h3", {}, named(trace.name || "trace")), el("span", { className: "soft" }, "trace ", named(trace.trace_id)));
  return [head, el("p", { className: "note" }, pathWords(trace)), drawScale(end), ...trace.spans.map((one, at) => drawSpan(trace, one, at, end)), ...warnings(trace)];
}

const placed = (made, from, to, end) => {
  made.style.left = `${(100 * from) / end}%`;
  made.style.width = `${(100 * Math.max(to - from, 0)) / end}%`;
  return made;
};

function drawScale(end) {
  const track = el("div", { className: "track" });
  for (const share of [0, 0.25, 0.5, 0.75]) {
    const tick = el("span", {}, ms(end * share));
    tick.style.left = `${100 * share}%`;
    track.append(tick);
  }
  return el("div", { className: "span axis" }, el("span", { className: "label" }, "▂ what the end waited for"), track, el("span", { className: "num" }, ms(end)));
}

function drawSpan(trace, one, at, end) {
  const colour = one.kind === "client" ? css("--soft") : nodeColour(one.node);
  const track = el("div", { className: "track" });
  const bar = placed(el("div", { className: `bar ${one.kind}` }), one.from, one.to, end);
  bar.style.background = bar.style.borderColor = colour;
  track.append(bar);
  if (one.wait > 0) track.append(placed(el("div", { className: "bar wait" }), one.from, one.from + one.wait, end));
  for (const [span, from, to] of trace.path) if (span === at) track.append(placed(el("div", { className: "on-path" }), from, to, end));
  const what = one.kind === "client" ? ["client ", named(one.name)] : one.kind === "call" ? ["→ ", named(one.name || "next hop")] : [named(one.node), " ", el("span", { className: "soft" }, named(one.name))];
  const label = el("span", { className: "clip", title: `${one.node} ${one.name}${one.status === null ? "" : ` · status ${one.status}`}` }, dot(colour), what);
  label.style.paddingLeft = `${Math.min(one.depth, 8) * 12}px`;
  const failed = one.status !== null && one.status >= 400 ? ` (${one.status})` : "";
  return el("div", { className: "span" }, label, track, el("span", { className: "num" }, `${ms(one.to - one.from)}${failed}`));
}

// Where the time of the path went: in the nodes, and between them (calls less what the next hop served).
function pathWords(trace) {
  const spent = new Map();
  for (const [at, from, to] of trace.path) {
    const one = trace.spans[at];
    const where = one.kind === "served" ? one.node : "on the way";
    spent.set(where, (spent.get(where) || 0) + to - from);
  }
  const parts = [...spent].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([where, took]) => [named(where), ` ${ms(took)}`]);
  const words = parts.flatMap((part, at) => (at ? [", ", ...part] : part));
  const line = el("span", {}, `${ms(trace.took_ms)} = `, words);
  return line;
}

function warnings(trace) {
  const told = [];
  if (trace.outside_ms > 1) told.push(`Stamps of a call and of what it called lie up to ${ms(trace.outside_ms)} outside of each other: the clocks of the nodes differ by about that.`);
  if (trace.left_out) told.push(`${count(trace.left_out, "more span")} not shown.`);
  return told.map((words) => el("p", { className: "note" }, words));
}
