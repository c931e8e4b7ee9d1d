// Refetches the changing part of the status page every two seconds and swaps it in.
// Without this script the page reloads itself through a meta refresh.
"use strict";
(() => {
  const every = 2000;
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");
  let lastGood = Date.now();
  let shown = "";

  const say = (state, text) => {
    pulse.className = "pulse " + state;
    if (pulse.textContent !== text) pulse.textContent = text;
  };

  // A person who is marking text to copy must not lose the selection.
  const selecting = () => {
    const s = document.getSelection();
    return s && !s.isCollapsed && live.contains(s.anchorNode);
  };

  const refresh = async () => {
    try {
      const answer = await fetch("fragment", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      const html = await answer.text();
      lastGood = Date.now();
      say("good", "live");
      if (html === shown || selecting()) return;
      const left = [...live.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
      live.innerHTML = html; // escaped by the server's templates
      shown = html;
      live.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = left[i] || 0; });
    } catch {
      const s = Math.round((Date.now() - lastGood) / 1000);
      say("bad", "no answer for " + s + " s, still trying");
    }
  };

  const loop = async () => {
    if (!document.hidden) await refresh();
    setTimeout(loop, every);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  loop();
})();
