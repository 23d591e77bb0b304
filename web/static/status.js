// Shows how far a run is that writes the index.
"use strict";

const section = document.querySelector("#running");

async function look() {
  const answer = await fetch("/api/status").then((response) => response.json()).catch(() => ({}));
  const run = answer.running;
  if (section.hidden && run) section.hidden = false;
  if (!section.hidden && !run) return location.reload();
  if (run) {
    const bar = document.querySelector("progress");
    bar.max = run.total || 1;
    bar.value = run.done;
    document.querySelector("#running-words").textContent =
      `${run.done} of ${run.total} recordings, ${(run.audio_seconds / 3600).toFixed(2)} h of audio`;
  }
}

setInterval(look, 3000);
