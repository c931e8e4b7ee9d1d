// Lists what keeps people from reading or using a page.
(() => {
  const faults = [];
  const say = (text, el) => faults.push(text + (el ? ": " + el.outerHTML.slice(0, 140) : ""));

  // Contrast (WCAG 2.2, 1.4.3): 4.5 to 1 for text.
  const rgb = (c) => c.match(/[\d.]+/g).map(Number);
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (el) => {
    for (; el; el = el.parentElement) {
      const c = rgb(getComputedStyle(el).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const el = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !el.checkVisibility() || seen.has(el)) continue;
    seen.add(el);
    const [a, b] = [light(rgb(getComputedStyle(el).color)), light(ground(el))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say("contrast of " + ratio.toFixed(2), el);
  }
  if (seen.size < 10) say("hardly any text was looked at: " + seen.size);

  // Names and structure.
  for (const el of document.querySelectorAll("input, select")) if (!el.labels.length) say("no label", el);
  for (const el of document.querySelectorAll("button, a, summary")) if (!el.innerText.trim() && !el.ariaLabel) say("no name", el);
  for (const el of document.querySelectorAll("img")) if (!el.hasAttribute("alt")) say("no alt", el);
  for (const el of document.querySelectorAll("th")) if (!el.scope) say("a heading of nothing", el);
  for (const el of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const id of (el.getAttribute("aria-labelledby") || el.getAttribute("aria-describedby")).split(" ")) {
      if (!document.getElementById(id)) say("it is labelled by nothing", el);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((el) => el.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) say("id " + id + " comes twice");
  if (document.querySelectorAll("h1").length !== 1) say("not one h1");
  let level = 1;
  for (const el of document.querySelectorAll("h1, h2, h3, h4")) {
    if (Number(el.localName[1]) > level + 1) say("a level of headings is left out", el);
    level = Number(el.localName[1]);
  }
  if (!document.documentElement.lang || !document.title) say("no language or no title");

  // Nothing sticks out of the window, and what scrolls can be reached by keyboard.
  if (document.scrollingElement.scrollWidth > innerWidth) say("it is " + document.scrollingElement.scrollWidth + " wide");
  for (const el of document.querySelectorAll("main *, footer *")) {
    if (el.scrollWidth > el.clientWidth + 1 && getComputedStyle(el).overflowX === "auto" && el.tabIndex < 0) say("it scrolls, and not by keyboard", el);
  }
  return faults;
})()
