// Elements, numbers, tooltips and tables. Text enters the page as text nodes only, never as markup.
const root = document.documentElement;
const problems = [];
function problem(text) {
  problems.push(text);
  root.dataset.errors = problems.join(" | ");
}
addEventListener("error", (e) => problem(`${e.message} at ${e.lineno}:${e.colno}`));
addEventListener("unhandledrejection", (e) => problem(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => problem(`policy: ${e.violatedDirective} ${e.blockedURI}`));

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child.nodeType ? child : String(child));
  }
  return element;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// Numbers: three significant digits and a unit; a dash for what is not known.
const known = (n) => typeof n === "number" && Number.isFinite(n);
function digits(n) {
  const size = Math.abs(n);
  if (size < 1e-9) return "0";
  if (size >= 99.95) return Math.round(n).toLocaleString("en-US");
  const decimals = size >= 9.995 ? 1 : size >= 0.9995 ? 2 : size >= 0.09995 ? 3 : size >= 0.009995 ? 4 : 6;
  return n.toFixed(decimals).replace(/\.?0+$/, "");
}
function ms(n) {
  if (!known(n)) return "–";
  const size = Math.abs(n);
  if (size >= 999.5) return `${digits(n / 1e3)}\u00a0s`;
  if (size > 0 && size < 0.0995) return `${digits(n * 1e3)}\u00a0µs`;
  return `${digits(n)}\u00a0ms`;
}
function percent(n) {
  if (!known(n)) return "–";
  const p = n * 100, size = Math.abs(p);
  const text = p.toFixed(size >= 9.95 ? 0 : size >= 0.095 ? 1 : 2);
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text}\u00a0%`;
}
const signed = (ratio) => (known(ratio) ? (ratio >= 1 ? "+" : "−") + percent(Math.abs(ratio - 1)) : "–");
const count = (n) => (known(n) ? n.toLocaleString("en-US") : "–");
const rate = (n) => (known(n) ? `${digits(n)}/s` : "–");
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const inUnit = (n, unit) => (!known(n) ? "–" : unit === "ms" ? ms(n) : unit === "share" ? percent(n) : unit === "per_s" ? rate(n) : digits(n));
// The unit once, that of the upper end: 80–130 ms.
function range(low, high) {
  const unit = ms(high).split("\u00a0")[1];
  const factor = unit === "s" ? 1e-3 : unit === "µs" ? 1e3 : 1;
  return known(low) && known(high) ? `${digits(low * factor)}–${ms(high)}` : "–";
}
const span3 = (s) => (s ? `${ms(s.value)} (${range(s.low, s.high)})` : "–");
const words = (text) => (text === "n_plus_one" ? "N+1" : text.replaceAll("_", " "));

// Ticks of a logarithmic axis: 1, 2, 5 of each decade, thinned to what fits.
function logTicks(low, high, most) {
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
      for (const s of steps) {
        const tick = s * 10 ** e;
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    if (ticks.length <= most) return ticks;
    if (steps.length === 1) return ticks.filter((_, at) => at % Math.ceil(ticks.length / most) === 0);
  }
  return [];
}
function linearTicks(high, most) {
  const raw = high / most, base = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * base).find((s) => s >= raw) || base;
  const ticks = [];
  for (let t = 0; t <= high * 1.0001; t += step) ticks.push(t);
  return ticks;
}

// Draws at the width that there is, and again when it changes.
const redraws = [];
function responsive(draw) {
  const holder = el("div", { class: "drawing" });
  let width = 0;
  redraws.push(() => {
    const now = Math.floor(holder.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      holder.replaceChildren(draw(width));
    }
  });
  return holder;
}
const redraw = () => redraws.forEach((r) => r());
let queued = false;
addEventListener("resize", () => {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; redraw(); });
});

// One tooltip for all: shown beside the pointer, or below what has the focus.
const tip = document.getElementById("tip");
function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(x + 14, innerWidth - box.width - 6))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(6, y - box.height - 10) : y + 18}px`;
}
const hideTip = () => { tip.hidden = true; };
addEventListener("scroll", hideTip, { passive: true });
addEventListener("keydown", (e) => { if (e.key === "Escape") hideTip(); });
function tipped(element, text) {
  element.addEventListener("pointermove", (e) => showTip(text(e), e.clientX, e.clientY));
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("focus", () => {
    const box = element.getBoundingClientRect();
    showTip(text(null), box.left, box.bottom - 12);
  });
  element.addEventListener("blur", hideTip);
  return element;
}

// A table whose columns sort. A column: { title, text(row), value(row)?, right?, name? }.
function table(columns, rows, options) {
  const { stack = true, prose = false, sortable = true, label, first = Infinity } = options || {};
  const body = el("tbody");
  let most = first, order = rows;
  const more = rows.length > first && el("button", { type: "button", class: "tool", onclick: () => { most = Infinity; more.remove(); show(order); } }, `Show all ${count(rows.length)} rows`);
  const show = (sorted) => body.replaceChildren(...(order = sorted).slice(0, most).map((row) =>
    el("tr", { class: "hover" }, columns.map((c) =>
      el("td", { class: [c.right && "r", c.name && "name"].filter(Boolean).join(" ") || null, "data-label": c.title }, stack && !c.name ? el("span", {}, c.text(row)) : c.text(row))))));
  const heads = columns.map((c) => {
    const th = el("th", { scope: "col", class: c.right ? "r" : null });
    if (!sortable || !c.value) return fill(th, {}, [c.title]);
    return fill(th, { "aria-sort": "none" }, [el("button", {
      type: "button",
      onclick: () => {
        const up = th.getAttribute("aria-sort") === (c.right ? "descending" : "none");
        heads.forEach((h) => h.hasAttribute("aria-sort") && h.setAttribute("aria-sort", "none"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => { const v = c.value(row); return v === null || v === undefined ? (up ? Infinity : -Infinity) : v; };
        const compare = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
        show([...rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
      },
    }, c.title)]);
  });
  show(rows);
  return el("div", { class: "scroll", tabindex: stack ? null : "0", role: stack ? null : "region", "aria-label": stack ? null : label },
    el("table", { class: stack ? `stack ${prose ? "prose" : ""}` : null, "aria-label": label },
      el("thead", {}, el("tr", {}, heads)), body), more);
}
const asTable = (columns, rows, label) => {
  const holder = el("details", { class: "as-table" }, el("summary", {}, "As a table"));
  holder.addEventListener("toggle", () => {
    if (holder.children.length === 1) holder.append(table(columns, rows, { stack: false, sortable: false, label }));
  });
  return holder;
};
