// Draws the map: points by colour, nearer and farther, a region to search in, a clip to hear.
"use strict";

const $ = (selector) => document.querySelector(selector);
const COLOURS = ["#3b7dd8", "#e0703a", "#3f9d5a", "#b65fc1", "#c9a227", "#d6456b", "#46aeb8", "#8a6d4f", "#7a7fd1", "#9aa23b", "#666666"];
const points = $("#points"), over = $("#over"), chart = $("#chart"), player = new Audio();
const REACH = 12, CELLS = 256;
let map = null, grid = null, view = { x: 0, y: 0, scale: 1 }, hidden = new Set(), pointed = -1, drag = null, lasso = null;

async function load() {
  const answer = await fetch("/api/map");
  map = await answer.json();
  if (!answer.ok || map.failure) { $("#method").textContent = map.error || map.failure; return; }
  if (!map.ready) { $("#method").textContent = "The map is being drawn …"; return setTimeout(load, 2000); }
  $("#method").textContent = `${map.x.length} clips, ${map.method}`;
  grid = new Map();
  map.x.forEach((x, i) => {
    const cell = (x >> 8) * CELLS + (map.y[i] >> 8);
    grid.has(cell) ? grid.get(cell).push(i) : grid.set(cell, [i]);
  });
  legend();
  resize();
}

function colouring() {
  return map.attributes[$("#colour").value];
}

function legend() {
  hidden.clear();
  $("#legend").replaceChildren(...colouring().labels.map((label, code) => {
    const button = document.createElement("button"), spot = document.createElement("canvas");
    spot.width = spot.height = 12;
    const pen = spot.getContext("2d");
    pen.fillStyle = COLOURS[code % COLOURS.length];
    pen.fillRect(0, 0, 12, 12);
    button.append(spot, ` ${label}`);
    button.title = "Show or hide";
    button.addEventListener("click", () => {
      hidden.has(code) ? hidden.delete(code) : hidden.add(code);
      button.classList.toggle("off", hidden.has(code));
      draw();
    });
    return button;
  }));
}

function resize() {
  for (const canvas of [points, over]) { canvas.width = chart.clientWidth * devicePixelRatio; canvas.height = chart.clientHeight * devicePixelRatio; }
  draw();
}

const side = () => Math.min(points.width, points.height) * 0.96 * view.scale;
const toScreen = (x, y) => [points.width / 2 + (x / 65535 - 0.5 - view.x) * side(), points.height / 2 + (y / 65535 - 0.5 - view.y) * side()];
const toMap = (px, py) => [(px * devicePixelRatio - points.width / 2) / side() + 0.5 + view.x, (py * devicePixelRatio - points.height / 2) / side() + 0.5 + view.y];

function draw() {
  if (!map?.ready) return;
  const pen = points.getContext("2d"), { codes } = colouring();
  const size = Math.max(1.5, Math.min(7, 60 / Math.sqrt(map.x.length) + view.scale)) * devicePixelRatio;
  const scale = side() / 65535, left = points.width / 2 - (0.5 + view.x) * side() - size / 2, top = points.height / 2 - (0.5 + view.y) * side() - size / 2;
  pen.clearRect(0, 0, points.width, points.height);
  const by = new Map();
  codes.forEach((code, i) => { by.has(code) ? by.get(code).push(i) : by.set(code, [i]); });
  for (const [code, members] of by) {
    if (hidden.has(code)) continue;
    pen.fillStyle = COLOURS[code % COLOURS.length];
    for (const i of members) pen.fillRect(left + map.x[i] * scale, top + map.y[i] * scale, size, size);
  }
  mark();
}

function mark() {
  const pen = over.getContext("2d");
  pen.clearRect(0, 0, over.width, over.height);
  pen.strokeStyle = getComputedStyle(chart).color;
  pen.lineWidth = 2 * devicePixelRatio;
  if (pointed >= 0) {
    pen.beginPath();
    pen.arc(...toScreen(map.x[pointed], map.y[pointed]), 8 * devicePixelRatio, 0, 7);
    pen.stroke();
  }
  if (lasso) {
    pen.beginPath();
    lasso.forEach(([x, y]) => pen.lineTo(...toScreen(x * 65535, y * 65535)));
    pen.closePath();
    pen.stroke();
  }
}

function nearest(px, py) {
  const [x, y] = toMap(px, py), reach = REACH * devicePixelRatio / side(), cells = Math.ceil(reach * CELLS);
  let best = -1, least = reach * reach;
  for (let cx = Math.floor(x * CELLS) - cells; cx <= x * CELLS + cells; cx++) {
    for (let cy = Math.floor(y * CELLS) - cells; cy <= y * CELLS + cells; cy++) {
      for (const i of (cx >= 0 && cy >= 0 && cy < CELLS && grid.get(cx * CELLS + cy)) || []) {
        const far = (map.x[i] / 65535 - x) ** 2 + (map.y[i] / 65535 - y) ** 2;
        if (far < least && !hidden.has(colouring().codes[i])) { least = far; best = i; }
      }
    }
  }
  return best;
}

async function point(i) {
  pointed = i;
  mark();
  if (i < 0) return;
  const clip = await fetch(`/api/map/${i}`).then((answer) => answer.json());
  if (i !== pointed || clip.error) return;
  const link = document.createElement("a");
  link.href = `/clips/${clip.id}`;
  link.textContent = `${clip.recording.split("/").pop()} ${clip.start.toFixed(1)}-${clip.end.toFixed(1)} s`;
  $("#pointed").replaceChildren(link, ` ${Object.entries(clip.attributes).map(([name, label]) => `${name} ${label}`).join(", ")}`);
  if ($("#hear").checked) {
    player.src = `/api/clips/${clip.id}/audio`;
    player.play().catch(() => { $("#method").textContent = "Click once, so that the browser lets sound play."; });
  }
}

over.addEventListener("pointermove", (event) => {
  if (!map?.ready) return;
  if (lasso) { lasso.push(toMap(event.offsetX, event.offsetY)); return mark(); }
  if (drag) {
    view.x = drag.x - (event.offsetX - drag.px) * devicePixelRatio / side();
    view.y = drag.y - (event.offsetY - drag.py) * devicePixelRatio / side();
    return draw();
  }
  const i = nearest(event.offsetX, event.offsetY);
  if (i !== pointed) point(i);
});
over.addEventListener("pointerdown", (event) => {
  if (!map?.ready) return;
  over.setPointerCapture(event.pointerId);
  if (event.shiftKey || $("#region").ariaPressed === "true") lasso = [toMap(event.offsetX, event.offsetY)];
  else drag = { px: event.offsetX, py: event.offsetY, x: view.x, y: view.y };
});
over.addEventListener("pointerup", () => {
  drag = null;
  if (!lasso) return;
  const step = Math.max(1, Math.ceil(lasso.length / 100));
  const corners = lasso.filter((_, place) => place % step === 0);
  lasso = null;
  if (corners.length < 3) return mark();
  const region = corners.map((corner) => corner.map((number) => number.toFixed(4)).join(",")).join(";");
  location.assign(`/?${new URLSearchParams({ region, captions: "a voice" })}`);
});
over.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (!map?.ready) return;
  const before = toMap(event.offsetX, event.offsetY);
  view.scale = Math.min(60, Math.max(0.8, view.scale * Math.exp(-event.deltaY / 400)));
  const after = toMap(event.offsetX, event.offsetY);
  view.x += before[0] - after[0];
  view.y += before[1] - after[1];
  draw();
}, { passive: false });
$("#colour").addEventListener("change", () => { legend(); draw(); });
$("#region").addEventListener("click", ({ target }) => {
  target.ariaPressed = target.ariaPressed === "true" ? "false" : "true";
  target.classList.toggle("chosen");
});
$("#whole").addEventListener("click", () => { view = { x: 0, y: 0, scale: 1 }; draw(); });
addEventListener("resize", resize);
load();
