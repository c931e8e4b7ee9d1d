// Keeps the page current: fetches what the server rendered and puts it in place, element by
// element, so that what a person has opened, marked or scrolled stays as it is. Without this
// script everything can be read all the same.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");
  if (!live || !pulse) return;
  const every = Number(live.dataset.every);
  let lastGood = Date.now();

  const say = (state, text) => {
    if (pulse.className !== "pulse " + state) pulse.className = "pulse " + state;
    if (pulse.textContent !== text) pulse.textContent = text;
  };

  const get = async (address) => {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    const box = document.createElement("template");
    box.innerHTML = await answer.text(); // escaped by the server's templates
    return { ok: answer.ok, status: answer.status, content: box.content };
  };

  // What belongs to the reader, not to the server.
  const kept = (el, name) => name === "open" && el.localName === "details";

  const sameAttributes = (old, now) => {
    for (const a of [...old.attributes]) if (!now.hasAttribute(a.name) && !kept(old, a.name)) old.removeAttribute(a.name);
    for (const a of now.attributes) if (old.getAttribute(a.name) !== a.value && !kept(old, a.name)) old.setAttribute(a.name, a.value);
  };

  // What tells an element from its siblings: rows of lists have keys, parts of the page have ids.
  const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "";

  const matches = (old, now) => old.nodeName === now.nodeName && keyOf(old) === keyOf(now);

  // Makes the children of old those of now, keeping the elements that stand for the same.
  const morph = (old, now) => {
    const byKey = new Map();
    for (const el of old.children) if (keyOf(el)) byKey.set(keyOf(el), el);
    let at = old.firstChild;
    for (const next of [...now.childNodes]) {
      const mine = keyOf(next) ? byKey.get(keyOf(next)) : at;
      if (!mine || !matches(mine, next)) {
        if (next.dataset?.key) next.classList.add("new");
        old.insertBefore(next, at);
        continue;
      }
      if (mine === at) at = at.nextSibling;
      else old.insertBefore(mine, at);
      update(mine, next);
    }
    while (at) {
      const rest = at.nextSibling;
      at.remove();
      at = rest;
    }
  };

  const update = (old, now) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== now.data) old.data = now.data;
      return;
    }
    const loaded = old.dataset.loaded;
    const same = old.dataset.load === now.dataset.load;
    sameAttributes(old, now);
    if (!old.dataset.load) {
      morph(old, now);
      return;
    }
    if (loaded && same) old.dataset.loaded = loaded; // what was fetched into it stays
    else morph(old, now);
    if (old.dataset.loaded !== "yes" && !old.closest("details:not([open])")) fill(old);
  };

  // Fetches what a part of the page has to show. What is only a reason is asked for again.
  const fill = async (el) => {
    if (el.dataset.loaded === "yes") return;
    el.dataset.loaded = "yes";
    try {
      const part = await get(el.dataset.load);
      el.replaceChildren(part.content);
      if (!part.ok) el.dataset.loaded = "again";
    } catch {
      el.dataset.loaded = "again";
    }
  };
  live.addEventListener("toggle", (e) => {
    if (e.target.open) e.target.querySelectorAll("[data-load]").forEach(fill);
  }, true);

  // A person who is marking text to copy must not lose the selection.
  const selecting = () => {
    const s = document.getSelection();
    return s && !s.isCollapsed && live.contains(s.anchorNode);
  };

  const refresh = async () => {
    try {
      const next = await get(live.dataset.source);
      if (!next.ok) throw new Error("HTTP " + next.status);
      lastGood = Date.now();
      say("good", "live");
      if (!selecting()) morph(live, next.content);
    } catch {
      const s = Math.round((Date.now() - lastGood) / 1000);
      say("bad", "no answer for " + s + " s, still trying");
    }
  };

  // A hub that is slow to answer is asked less often.
  const loop = async () => {
    const began = Date.now();
    if (!document.hidden) await refresh();
    setTimeout(loop, Math.max(every, 5 * (Date.now() - began)));
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  live.querySelectorAll("details[open]").forEach((d) => d.querySelectorAll("[data-load]").forEach(fill));
  loop();
})();
