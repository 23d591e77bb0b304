// Makes the rows of clips play: sound, waveforms, keys, feedback, playlist, sounds to search by.
"use strict";

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const rows = $$(".clip");
const player = new Audio();
const STEP = 1, AROUND = 30, PLAYLIST = "voxdex-playlist";
let playing = null, current = -1;

function say(text) {
  const said = $("#said");
  said.textContent = text;
  said.hidden = !text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.hidden = true; }, 6000);
}

// ---- sound

function sound(row) {
  return `/api/clips/${row.dataset.id}/audio`;
}

function play(row, at = null) {
  if (playing !== row) {
    if (playing) mark(playing, false);
    playing = row;
    player.src = sound(row);
  }
  if (at !== null) player.currentTime = at;
  player.play().catch((error) => say(`This clip cannot be played (${error.message}).`));
}

function toggle(row) {
  if (playing === row && !player.paused) player.pause(); else play(row);
}

function mark(row, on) {
  row.classList.toggle("playing", on);
  $(".play", row).textContent = on ? "❚❚" : "▶";
}

player.addEventListener("play", () => { mark(playing, true); requestAnimationFrame(follow); });
player.addEventListener("pause", () => mark(playing, false));
player.addEventListener("ended", () => draw(playing));

function follow() {
  draw(playing);
  if (!player.paused) requestAnimationFrame(follow);
}

// ---- waveforms

const peaks = new Map();

async function load(row) {
  if (peaks.has(row)) return;
  peaks.set(row, []);
  const answer = await fetch(`/api/clips/${row.dataset.id}/peaks`);
  const found = await answer.json();
  if (answer.ok) peaks.set(row, found);
  else { row.classList.add("unheard"); $(".wave", row).title = found.error; }
  draw(row);
}

function draw(row) {
  const canvas = $(".wave", row), bars = peaks.get(row) || [], pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas), width = canvas.width / Math.max(bars.length, 1), middle = canvas.height / 2;
  const heard = row === playing && player.duration ? player.currentTime / player.duration : 0;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  bars.forEach((peak, place) => {
    const height = Math.max(1, Math.sqrt(peak) * middle);
    pen.fillStyle = place / bars.length < heard ? style.getPropertyValue("--strong") : style.getPropertyValue("--soft");
    pen.fillRect(place * width, middle - height, Math.max(1, width - 1), 2 * height);
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) load(entry.target);
}, { rootMargin: "300px" });

for (const row of rows) {
  seen.observe(row);
  $(".play", row).addEventListener("click", () => { choose(rows.indexOf(row)); toggle(row); });
  $(".wave", row).addEventListener("pointerdown", (event) => {
    choose(rows.indexOf(row));
    const share = event.offsetX / event.target.clientWidth;
    if (playing === row && player.duration) return play(row, share * player.duration);
    play(row);
    player.addEventListener("loadedmetadata", () => { player.currentTime = share * player.duration; }, { once: true });
  });
  for (const button of $$("[data-act]", row)) button.addEventListener("click", () => act(row, button.dataset.act));
}

for (const button of $$(".around")) {
  button.addEventListener("click", () => {
    const whole = new Audio(`/api/clips/${button.dataset.id}/audio?around=${AROUND}`);
    whole.controls = true;
    button.replaceWith(whole);
    whole.play();
  });
}

// ---- the query is the address

function go(change) {
  const query = new URLSearchParams(location.search);
  query.delete("page");
  change(query);
  location.assign(`/?${query}`);
}

function act(row, what) {
  if (what === "collect") return collect(row);
  if (what === "like") return location.assign(`/?${new URLSearchParams({ like: row.dataset.id })}`);
  if (location.pathname !== "/") return say("Search for something first; then an answer can be refined.");
  const other = what === "liked" ? "disliked" : "liked";
  go((query) => {
    const rest = query.getAll(other).filter((id) => id !== row.dataset.id);
    query.delete(other);
    rest.forEach((id) => query.append(other, id));
    if (!query.getAll(what).includes(row.dataset.id)) query.append(what, row.dataset.id);
  });
}

const form = $("#search");
if (form) {
  form.addEventListener("submit", () => {
    for (const input of $$("input, select", form)) if (!input.value.trim()) input.disabled = true;
  });
  addEventListener("pageshow", () => $$("input, select", form).forEach((input) => { input.disabled = false; }));
  for (const select of $$("select", form)) select.addEventListener("change", () => form.requestSubmit());
  $("#file").addEventListener("change", (event) => send(event.target.files[0]));
}

for (const row of rows) {
  const query = new URLSearchParams(location.search);
  for (const what of ["liked", "disliked"]) {
    if (query.getAll(what).includes(row.dataset.id)) $(`[data-act=${what}]`, row).classList.add("chosen");
  }
}

// ---- sounds to search by: dropped, chosen, recorded

async function send(file) {
  if (!file) return;
  say("Listening …");
  const body = new FormData();
  body.append("file", file, file.name || "recording");
  try {
    const answer = await fetch("/api/sounds", { method: "POST", body });
    const kept = await answer.json();
    if (!answer.ok) return say(kept.error);
    go((query) => query.append("like", kept.name));
  } catch (error) {
    say(`The sound could not be sent (${error.message}).`);
  }
}

addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  send(event.dataTransfer.files[0]);
});

const record = $("#record");
if (record) {
  let recorder = null;
  record.addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder = null;
        record.classList.remove("chosen");
        send(new Blob(parts));
      });
      recorder.start();
      record.classList.add("chosen");
      say("Recording: speak, then press again.");
    } catch (error) {
      say(`The microphone cannot be used (${error.message}).`);
    }
  });
}

// ---- playlist

const list = $("#playlist");
let collected = [];
try { collected = JSON.parse(localStorage.getItem(PLAYLIST)) || []; } catch { /* none was kept */ }

function keep() {
  localStorage.setItem(PLAYLIST, JSON.stringify(collected));
  show();
}

function collect(row) {
  if (collected.some((clip) => clip.id === row.dataset.id)) return say("It is in the playlist already.");
  collected.push({ id: row.dataset.id, name: row.dataset.name });
  keep();
}

function move(from, to) {
  if (to < 0 || to >= collected.length) return;
  collected.splice(to, 0, ...collected.splice(from, 1));
  keep();
}

function button(text, title, action) {
  const made = document.createElement("button");
  made.textContent = text;
  made.title = title;
  made.addEventListener("click", action);
  return made;
}

function show() {
  list.hidden = !collected.length;
  $("#playlist-count").textContent = collected.length;
  $("ol", list).replaceChildren(...collected.map((clip, place) => {
    const item = document.createElement("li"), name = document.createElement("a");
    name.textContent = clip.name;
    name.href = `/clips/${clip.id}`;
    item.draggable = true;
    item.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", place));
    item.addEventListener("dragover", (event) => event.preventDefault());
    item.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); move(Number(event.dataTransfer.getData("text/plain")), place); });
    item.append(name, button("↑", "Up", () => move(place, place - 1)), button("↓", "Down", () => move(place, place + 1)),
      button("✕", "Take away", () => { collected.splice(place, 1); keep(); }));
    return item;
  }));
}

for (const take of $$("[data-take]")) {
  take.addEventListener("click", async () => {
    const answer = await fetch(`/api/playlist.${take.dataset.take}`, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ clips: collected.map((clip) => clip.id) }),
    });
    if (!answer.ok) return say((await answer.json()).error);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `voxdex.${take.dataset.take}`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
$("#playlist-clear").addEventListener("click", () => { collected = []; keep(); });
addEventListener("storage", (event) => {
  if (event.key !== PLAYLIST) return;
  collected = JSON.parse(event.newValue) || [];
  show();
});
show();

// ---- keys

function choose(place) {
  if (place < 0 || place >= rows.length) return;
  if (current >= 0) rows[current].classList.remove("current");
  current = place;
  rows[current].classList.add("current");
  rows[current].scrollIntoView({ block: "nearest" });
}

const KEYS = {
  "/": () => { location.pathname === "/" ? $("#caption").select() : location.assign("/"); },
  j: () => choose(current + 1),
  k: () => choose(Math.max(0, current - 1)),
  " ": () => { if (current < 0) choose(0); if (rows[current]) toggle(rows[current]); },
  ArrowLeft: () => { player.currentTime = Math.max(0, player.currentTime - STEP); },
  ArrowRight: () => { player.currentTime += STEP; },
  l: () => rows[current] && act(rows[current], "liked"),
  d: () => rows[current] && act(rows[current], "disliked"),
  m: () => rows[current] && act(rows[current], "like"),
  a: () => rows[current] && act(rows[current], "collect"),
  Enter: () => rows[current] && location.assign(`/clips/${rows[current].dataset.id}`),
  "?": () => $("#keys").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.key === "Escape") return document.activeElement.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, dialog *")) return;
  if (event.target.matches("button, a, summary") && ["Enter", " "].includes(event.key)) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

const here = $(`.clip[data-id="${$("[data-current]")?.dataset.current}"]`);
if (here) { choose(rows.indexOf(here)); here.scrollIntoView({ block: "center" }); }
