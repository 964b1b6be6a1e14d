// Charts of lanes: what was where from when to when.

// Lanes over time: rows of {label, colour?, draw(u, ctx, top, height)}, each of them row px high.
function laneChart(parts, rows, { row = 15, gutter = 92, after = () => {} }) {
  const height = rows.length * row + 32; // 26 of them the axis
  parts.at.textContent = "UTC";
  const show = (u) => {
    parts.at.textContent = timeUnder(u);
  };
  const draw = (u) => {
    const each = u.bbox.height / rows.length;
    rows.forEach((one, number) => lane(u, one, u.bbox.top + number * each, each));
    after(u, each);
  };
  return plot(parts, {
    height, cursor: timeCursor(), padding: [6, 26, 0, 0], series: [{}, {}],
    scales: { x: timeScale(), y: { range: [0, 1] } },
    axes: [timeAxis(), axis({ size: isNarrow() ? Math.min(gutter, 84) : gutter, values: () => [], ticks: { show: false }, grid: { show: false } })],
    hooks: { draw: [draw], setCursor: [show] },
  }, [bounds(), [undefined, undefined]]);
}

function lane(u, one, top, height) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = one.colour || css("--soft");
  ctx.font = `${one.colour ? "600 " : ""}${px(11)}px ${FONT}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillText(fitting(ctx, one.label, bbox.left - px(12)), bbox.left - px(8), top + height / 2);
  ctx.beginPath();
  ctx.rect(bbox.left, top, bbox.width, height);
  ctx.clip();
  if (one.draw) one.draw(u, ctx, top, height);
  ctx.restore();
}

// The text, cut to a width.
function fitting(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return isolated(text);
  let length = text.length;
  while (length > 1 && ctx.measureText(`${text.slice(0, length)}…`).width > width) length--;
  return isolated(`${text.slice(0, length)}…`);
}

function bar(u, ctx, from, to, top, height, colour) {
  const left = u.valToPos(from / 1e3, "x", true);
  ctx.fillStyle = colour;
  ctx.fillRect(left, top, Math.max(u.valToPos(to / 1e3, "x", true) - left, px(1.5)), height);
}
