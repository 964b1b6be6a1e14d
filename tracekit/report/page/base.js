// What every part uses: the run's data, elements, colours, and how figures are written.
const run = JSON.parse(document.getElementById("run").textContent);
const { grid, card } = run;
const nodeNames = [...new Set([...card.nodes.map((one) => one.node), ...run.charts.flatMap((one) => one.series.map((s) => s.node))])];
const HUES = 8;

// An element with these properties and children; text is always text, never markup.
function el(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// A name from the data, kept from turning the words around it about where it is written from right to left.
const named = (text) => el("bdi", {}, text);
// The same for text on a canvas: between FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
const isolated = (text) => `\u2068${text}\u2069`;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const hue = (number) => css(`--c${number % HUES}`);
const nodeColour = (node) => hue(Math.max(nodeNames.indexOf(node), 0));

function dot(colour, shape = "") {
  const made = el("i", { className: `dot ${shape}` });
  made.style.background = colour;
  return made;
}

const two = (number) => String(number).padStart(2, "0");
function clock(ms) {
  const at = new Date(ms);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}
const day = (ms) => new Date(ms).toISOString().slice(0, 10);

// Three digits that count, without an exponent.
function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: digits, useGrouping: size >= 10000 });
}

function lasting(ms) {
  if (ms < 1000) return `${figure(ms)} ms`;
  const s = Math.round(ms / 1000);
  if (ms < 120e3) return `${figure(ms / 1000)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
}

const seconds = (ms) => `${ms > 0 ? "+" : "−"}${figure(Math.abs(ms) / 1000)} s`;
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

function section(id, title, ...children) {
  return el("section", { id }, el("h2", {}, title), ...children);
}

function table(heads, rows, numeric = []) {
  const cell = (tag) => (content, at) => el(tag, { className: numeric.includes(at) ? "num" : "words" }, content);
  const body = rows.map((row) => el("tr", {}, row.map(cell("td"))));
  return el("div", { className: "scroll" },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map(cell("th")))), el("tbody", {}, body)));
}
