// What the database told: where requests spend their time, statements, and their plans as trees.
function timeSpent() {
  const part = (title, field) => ({ title, right: true, value: (t) => (t[field] ? t[field].value : null), text: (t) => (t[field] ? [ms(t[field].value), el("div", { class: "dim small" }, range(t[field].low, t[field].high))] : "–") });
  return el("div", { class: "card" }, table([
    { title: "endpoint", name: true, text: (t) => t.endpoint, value: (t) => t.endpoint },
    { title: "mean", right: true, value: (t) => t.mean_ms, text: (t) => ms(t.mean_ms) },
    part("database", "database"),
    { title: "statements", right: true, value: (t) => (t.statements ? t.statements.value : null), text: (t) => (t.statements ? digits(t.statements.value) : "–") },
    part("cache", "cache"), part("CPU", "cpu"), part("waiting for a CPU", "queue"),
    { title: "rest", right: true, value: (t) => t.rest_ms, text: (t) => ms(t.rest_ms) },
    { title: "left over", right: true, value: (t) => t.residual, text: (t) => percent(t.residual) },
  ], data.time, { label: "Where a request's time goes", first: 20 }));
}

// Estimate and truth differ by so much that the planner was misled.
const MISLED = 10;
function planNode(node) {
  const off = known(node.estimated) && known(node.actual) ? Math.max(node.actual, 1) / Math.max(node.estimated, 1) : null;
  const wrong = off !== null && (off >= MISLED || off <= 1 / MISLED);
  const rows = [known(node.estimated) && `${digits(node.estimated)} rows estimated`, known(node.actual) && `${digits(node.actual)} came`].filter(Boolean).join(", ");
  const item = el("li", {},
    el("span", { class: "plan-node" }, node.title), " ",
    known(node.cost_share) && node.cost_share >= 0.005 && chip(node.cost_share >= 0.5 ? "warn" : "", `${percent(node.cost_share)} of the cost`), " ",
    el("span", { class: wrong ? "small wrong" : "small dim" }, rows, wrong && ` (${off >= 1 ? `${digits(off)} times too low` : `${digits(1 / off)} times too high`})`),
    node.detail.map((text) => el("div", {}, el("code", { class: "small" }, text))));
  item.style.marginLeft = `${node.depth * 1.25}rem`;
  return item;
}

function statement(s, at) {
  const callers = s.callers.map(([endpoint, calls]) => `${endpoint}: ${digits(calls.value)} a request (${digits(calls.low)}–${digits(calls.high)})`);
  return el("article", { class: "card finding", "aria-label": `Statement ${at + 1}` },
    el("p", {}, el("code", { class: "stmt clamp" }, s.text)),
    el("p", { class: "small dim" }, [known(s.share) && `${percent(s.share)} of the database's time`, plural(s.calls, "call"), known(s.mean_ms) && `${ms(s.mean_ms)} each`, known(s.at_least_ms) && `more than ${ms(s.at_least_ms)} each`, known(s.rows_per_call) && `${digits(s.rows_per_call)} rows a call`].filter(Boolean).join(" · ")),
    callers.length > 0 && el("p", { class: "small" }, `Called by ${callers.join("; ")}`),
    s.indexes.map((index) => el("div", {}, el("p", { class: "small" }, chip("good", "index"), known(index.before_ms) ? ` ${ms(index.before_ms)} → ${ms(index.after_ms)} a call, ${index.method}` : ` ${index.method}`), el("pre", {}, index.create), el("details", {}, el("summary", {}, "Undo"), el("pre", {}, index.undo)))),
    s.nodes.length > 0 && el("details", { open: at < 3 }, el("summary", {}, s.executed ? "Plan, as it was executed" : "Plan"), el("ul", { class: "plan" }, s.nodes.map(planNode))));
}

// What the state of the server shows, with what to type.
function serverState(s) {
  const sql = (title, text) => text && el("details", { open: title === "Mend" }, el("summary", {}, title), el("pre", {}, text));
  return el("article", { class: "card finding", "aria-label": s.kind },
    el("p", {}, chip("warn", s.kind), " ", s.reason),
    s.subject.includes(" ") && el("p", {}, el("code", { class: "stmt clamp" }, s.subject)),
    sql("Mend", s.mend), sql("Undo", s.undo), sql("Look", s.look));
}
