// Real against simulated, as make verify judged it.
function drawVerified() {
  if (!run.verified) return null;
  const { findings, verdict, is_older } = run.verified;
  const farthest = Math.max(1, ...findings.filter(isPercent).flatMap((one) => [one.error, one.gate, ...(one.interval || [])]).map((value) => Math.abs(value || 0)));
  const rows = findings.map((one) => [named(one.name), one.n.map((number) => number.toLocaleString("en")).join(" / "), figure(one.real), figure(one.sim),
    errorText(one, one.error), one.interval ? `${errorText(one, one.interval[0])} to ${errorText(one, one.interval[1])}` : "–", drawError(one, farthest),
    errorText(one, one.floor), one.gate === null ? "–" : errorText(one, one.gate).replace("+", ""), el("span", { className: judged(one.verdict) }, named(one.verdict))]);
  const heads = ["", "n real / simulated", "real", "simulated", "error", "95 % interval", "", "real against real", "gate", "verdict"];
  const old = is_older ? " The data set has been made anew since: run make verify again." : "";
  return section("verified", "Real against simulated",
    el("p", { className: "note" }, "Error of the simulated run in percent of the real one; of KS, the distance. Times in ms. Bar: error, line: its interval, ticks: the gate.", old),
    el("div", { className: "panel" }, el("h3", {}, "Verdict ", el("span", { className: judged(verdict) }, named(verdict))), table(heads, rows, [1, 2, 3, 4, 5, 7, 8])));
}

// Whatever else verify says is why it did not judge.
const judged = (verdict) => ({ PASS: "kind pass", FAIL: "kind fail" })[verdict] || "soft";
const isPercent = (one) => !one.name.endsWith("KS") && one.error !== null;

function errorText(one, value) {
  if (value === null || value === undefined) return "–";
  if (one.name.endsWith("KS")) return figure(value);
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${figure(Math.abs(value))} %`;
}

// A strip from minus to plus the farthest error of all.
function drawError(one, farthest) {
  const strip = el("div", { className: "strip" });
  if (!isPercent(one)) return strip;
  const add = (name, from, to) => strip.append(placed(el("div", { className: name }), farthest + Math.min(from, to), farthest + Math.max(from, to), 2 * farthest));
  add("zero", 0, 0);
  if (one.gate !== null) [-one.gate, one.gate].forEach((at) => add("gate", at, at));
  add(`error ${judged(one.verdict)}`, 0, one.error);
  if (one.interval) add("interval", ...one.interval);
  return strip;
}
