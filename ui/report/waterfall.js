// One trace at a time as a table: what ran when, what the request waited for.
const FIRST_ROWS = 60;
const KINDS = { server: "server", internal: "internal", db: "database", cache: "cache", call: "outgoing call", messaging: "messaging" };
const WHICH = { typical: "typical (p50)", slow: "slow (p95)" };

function place(element, start, length, total) {
  const from = Math.max(0, Math.min(1, start / total)), to = Math.max(0, Math.min(1, (start + length) / total));
  element.style.left = `${(from * 100).toFixed(3)}%`;
  element.style.width = `${((to - from) * 100).toFixed(3)}%`;
  return element;
}

function waterfallRow(w, row, total) {
  const name = w.names[row.name], service = w.names[row.service];
  const bars = row.bars || [[row.start_ms, row.duration_ms]];
  const tip = () => `${row.count > 1 ? `${count(row.count)} × ` : ""}${name.length > 220 ? `${name.slice(0, 219)}…` : name}\n${service ? `${service}, ` : ""}${KINDS[row.kind]}\n`
    + `starts at ${ms(row.start_ms)}, ${row.count > 1 ? "all together " : ""}${ms(row.duration_ms)}\n${ms(row.critical_ms)} on the critical path`;
  const toggle = el("button", { type: "button", "aria-expanded": "false", class: row.kind === "db" ? "mono" : null,
    onclick: () => toggle.setAttribute("aria-expanded", String(toggle.getAttribute("aria-expanded") !== "true")) }, name);
  const label = el("div", { class: "label" }, el("span", { class: `dot k-${row.kind}`, "aria-hidden": "true" }),
    row.count > 1 && el("span", { class: "times" }, `${count(row.count)} ×`), toggle,
    row.error && el("span", { class: "chip bad" }, "error"), row.orphan && el("span", { class: "chip warn" }, "parent missing"),
    row.finding && el("span", { class: "flag", title: `finding: ${row.finding}` }, "◆ ", el("span", { class: "small" }, words(row.finding))),
    service && el("span", { class: "svc" }, service));
  label.style.setProperty("--depth", Math.min(row.depth, 14));
  const more = row.hidden > 0 && el("div", { class: "more" }, `… ${count(row.hidden)} more below`);
  if (more) more.style.setProperty("--depth", Math.min(row.depth, 14));
  return el("tr", { class: "hover" }, el("td", { class: "w-name" }, label, more),
    tipped(el("td", { class: "w-track" }, el("div", { class: "track", "aria-hidden": "true" },
      bars.map((b) => place(el("i", { class: `k-${row.kind}` }), b[0], b[1], total)),
      (row.critical || []).map((c) => place(el("b"), c[0], c[1], total)))), tip),
    el("td", { class: "w-ms r" }, ms(row.duration_ms)));
}

function waterfallTable(w) {
  const total = Math.max(w.total_ms, 1e-6);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const ruler = el("div", { class: "ruler", "aria-hidden": "true" }, ticks.map((t) => { const s = el("span", {}, ms(t * total)); s.style.left = `${t * 100}%`; return s; }));
  const body = el("tbody", {}, w.rows.slice(0, FIRST_ROWS).map((r) => waterfallRow(w, r, total)));
  const rest = w.rows.length - FIRST_ROWS;
  const more = rest > 0 && el("button", { type: "button", class: "tool", onclick: () => { body.append(...w.rows.slice(FIRST_ROWS).map((r) => waterfallRow(w, r, total))); more.remove(); } }, `Show ${count(rest)} more rows`);
  const kinds = Object.keys(KINDS).filter((k) => w.rows.some((r) => r.kind === k));
  return el("div", {},
    el("p", { class: "small dim" }, `Trace `, el("code", {}, w.trace_id), `: ${plural(w.spans, "span")} in ${ms(w.total_ms)}`, w.hidden > 0 && `; … ${count(w.hidden)} more spans are not drawn`),
    el("div", { class: "legend" }, kinds.map((k) => el("span", {}, swatch(k), KINDS[k])),
      el("span", {}, swatch("path"), "critical path: what the request waits for"),
      w.rows.some((r) => r.finding) && el("span", {}, el("span", { class: "flag" }, "◆"), "part of a finding")),
    el("table", { class: "wf", "aria-label": `Waterfall of ${w.endpoint}, ${WHICH[w.which]}, ${whenName(w.when)}` },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "w-name" }, "span"), el("th", { scope: "col" }, ruler), el("th", { scope: "col", class: "w-ms r" }, "time"))), body), more);
}
function swatch(kind) {
  const fillColour = kind === "path" ? "var(--path)" : `var(--k-${kind})`;
  return svg("svg", { width: 14, height: 10, "aria-hidden": "true" }, svg("rect", { width: 14, height: kind === "path" ? 4 : 10, y: kind === "path" ? 3 : 0, rx: 2, fill: fillColour }));
}

function waterfalls(all) {
  const state = { endpoint: all[0].endpoint, when: all[0].when, which: all[0].which };
  const holder = el("div");
  const endpoints = [...new Set(all.map((w) => w.endpoint))];
  const find = (s) => all.find((w) => w.endpoint === s.endpoint && w.when === s.when && w.which === s.which);
  const seg = (field, values, names, label) => {
    const buttons = values.map((v) => el("button", { type: "button", onclick: () => { state[field] = v; show(); } }, names(v)));
    return { node: el("div", { class: "seg", role: "group", "aria-label": label }, buttons),
      update: () => values.forEach((v, i) => { fill(buttons[i], { "aria-pressed": String(state[field] === v) }, []); buttons[i].disabled = !find({ ...state, [field]: v }); }) };
  };
  const whens = seg("when", ["before", "after"].filter((v) => all.some((w) => w.when === v)), whenName, "Measurement");
  const whiches = seg("which", ["typical", "slow"], (v) => WHICH[v], "Which trace");
  const select = el("select", { "aria-label": "Endpoint", onchange: () => { state.endpoint = select.value; show(); } }, endpoints.map((e) => el("option", { value: e }, e)));
  function show() {
    const exact = find(state) || all.find((w) => w.endpoint === state.endpoint);
    Object.assign(state, { when: exact.when, which: exact.which });
    whens.update(); whiches.update();
    holder.replaceChildren(waterfallTable(exact));
  }
  show();
  return el("div", { class: "card", id: "waterfall" }, el("div", { class: "controls" }, select, two && whens.node, whiches.node), holder);
}
