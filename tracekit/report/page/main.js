// The page from top to bottom, drawn again when the colour scheme changes.
function drawPage() {
  forget();
  const parts = [drawCoverage(), drawHosts(), drawProcesses(), drawRequests(), drawTraces(), drawPlacement(), drawVerified()].filter(Boolean);
  const links = parts.map((one) => el("a", { href: `#${one.id}` }, one.querySelector("h2").textContent));
  document.getElementById("page").replaceChildren(...drawCard(), el("nav", {}, links), ...parts, drawFoot());
}

function drawFoot() {
  const bucket = `Each chart keeps the least and the greatest sample of every ${lasting(grid.width_ms)}; percentiles are within 0.5 %.`;
  const outside = grid.outside ? ` ${count(grid.outside, "sample")} outside of the shown time.` : "";
  return el("footer", {}, el("p", {}, `Drag across a chart to zoom all of them, double click to see the whole run. ${bucket}${outside} All figures: the files beside this page.`),
    el("p", {}, "Charts: uPlot, © Leon Sorokin, MIT licence."));
}

drawPage();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPage);
