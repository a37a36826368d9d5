// The page from top to bottom: the answer, the goals, the loop, then the evidence and what could not be seen.
const VERDICTS = { better: ["good", "better"], worse: ["bad", "worse"], same: ["", "same"], unclear: ["warn", "unclear"] };
const SEVERITIES = { critical: ["bad", "critical"], warning: ["warn", "warning"], info: ["", "information"] };
const chip = (tone, text) => el("span", { class: `chip ${tone}` }, text);
const empty = (section) => el("p", { class: "empty" }, data.missing[section] || "Nothing to show.");
const sections = [];
function section(id, [title, short], lead, n, ...content) {
  sections.push({ id, title: short || title, n });
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), lead && el("p", { class: "lead" }, lead), content);
}

function header() {
  const h = data.headline;
  const label = () => (root.dataset.theme === "dark" ? "Light" : "Dark");
  const theme = el("button", { type: "button", class: "tool", onclick: () => { setTheme(root.dataset.theme === "dark" ? "light" : "dark", true); theme.textContent = label(); } }, label());
  const wrong = data.doubts.filter((d) => d.invalid);
  return el("header", { class: "wrap" },
    el("div", { class: "top" }, el("h1", {}, data.title), data.target && el("span", { class: "mono" }, data.target), el("span", {}, data.created),
      el("span", { class: "tools" }, theme, el("button", { type: "button", class: "tool", onclick: () => print() }, "Print"))),
    el("div", { class: `verdict ${h.tone}` }, el("span", { class: "bar", "aria-hidden": "true" }), el("p", { class: "sentence" }, h.sentence), h.detail && el("p", { class: "detail" }, h.detail),
      wrong.map((d) => el("div", { class: "alert bad", role: "note" }, el("strong", {}, `Not valid (${whenName(d.when)}): `), d.reason, " ", d.hint))));
}

function goal(g) {
  const last = g.after || g.before || {}, first = g.after && g.before;
  const state = last.met === true ? "met" : last.met === false ? "missed" : "unknown";
  const [tone, text] = { met: ["good", "✓ met"], missed: ["bad", "✗ missed"], unknown: ["warn", "? not measured"] }[state];
  const bound = known(g.limit) && known(last.measured) && g.limit > 0;
  const end = bound ? Math.max(g.limit * 1.25, last.measured) : 1;
  const meter = bound && el("div", { class: "meter", "aria-hidden": "true" }, place(el("i"), 0, last.measured, end), place(el("b"), g.limit, 0, end));
  if (meter) meter.lastChild.style.width = "2px";
  return el("div", { class: `card goal ${state}` }, el("div", {}, chip(tone, text)), el("div", { class: "name" }, g.goal.replace(/ (ms|s|%)$/, "\u00a0$1")),
    el("div", { class: "figure" }, first && known(first.measured) && el("span", { class: "from" }, `${inUnit(first.measured, g.unit)} → `), inUnit(last.measured, g.unit)), meter);
}

const place2 = (finding) => finding.place.length > 0 && el("dl", { class: "facts small" }, finding.place.map(([name, text]) => [el("dt", {}, name), el("dd", {}, el("code", { class: "stmt clamp" }, text))]));
const remedies = (finding) => finding.remedies.length > 0 && el("details", {}, el("summary", {}, finding.remedies.length > 1 ? `${finding.remedies.length} remedies` : "Remedy"),
  finding.remedies.map((r) => el("div", {}, el("p", {}, chip("", r.kind), " ", r.text), r.patch && el("pre", {}, r.patch), r.undo && [el("h4", {}, "Undo"), el("pre", {}, r.undo)])));
const plan = (finding) => finding.plan && el("details", {}, el("summary", {}, "Plan"), el("pre", {}, finding.plan));
const evidence = (lines) => lines.length > 0 && el("ul", { class: "evidence" }, lines.map((l) => el("li", {}, l)));

function step(s) {
  const f = s.finding, [tone, verdict] = VERDICTS[s.verdict];
  const held = s.prediction_held === true ? chip("good", "prediction held") : s.prediction_held === false ? chip("warn", "prediction missed") : null;
  return el("article", { class: "card step", "aria-label": `Step ${s.number}` },
    el("div", { class: `no ${s.kept ? "kept" : ""}`, "aria-hidden": "true" }, s.number),
    el("div", { class: "body" },
      el("h3", {}, f.title), el("div", { class: "chips" }, chip(tone, verdict), held, chip(s.kept ? "good" : "", s.kept ? "kept" : "reverted"), el("span", { class: "small dim" }, `${words(f.rule)} · ${f.endpoint}`)),
      evidence(f.evidence.slice(0, 3)),
      el("dl", { class: "facts" },
        el("dt", {}, "Change"), el("dd", {}, el("strong", {}, s.change), s.description && ` – ${s.description}`),
        el("dt", {}, "Predicted"), el("dd", {}, s.predicted ? `${s.metric} ${ms(s.before_ms)} → ${span3(s.predicted)}${f.prediction ? `, grade ${f.prediction.grade}` : ""}` : "nothing: the finding carries no prediction"),
        el("dt", {}, "Actual"), el("dd", {}, s.actual ? [`${s.metric} ${ms(s.before_ms)} → `, el("strong", {}, ms(s.actual.value)), ` (${range(s.actual.low, s.actual.high)})`, known(s.error_share) && `; prediction off by ${percent(s.error_share)} of the value before`] : "not measured")),
      el("details", {}, el("summary", {}, "Details"), s.reasons.length > 0 && evidence(s.reasons), place2(f),
        f.prediction && f.prediction.assumption && el("p", { class: "small" }, `Assumed: ${f.prediction.assumption}`),
        s.metrics.length > 0 && table([
          { title: "metric", name: true, text: (m) => m.metric }, { title: "before", right: true, text: (m) => ms(m.before_ms) }, { title: "after", right: true, text: (m) => ms(m.after_ms) },
          { title: "change (95 %)", right: true, text: (m) => `${signed(m.ratio)} (${signed(m.low)} to ${signed(m.high)})` }, { title: "visible from", right: true, text: (m) => percent(m.detectable) },
          { title: "verdict", text: (m) => chip(VERDICTS[m.verdict][0], VERDICTS[m.verdict][1]) },
        ], s.metrics, { label: `Metrics of step ${s.number}` }),
        f.rerun && rerun(f.rerun, `Before and after of step ${s.number}`),
        s.apply && [el("h4", {}, "Applied"), el("pre", {}, s.apply)], s.undo && [el("h4", {}, "Undo"), el("pre", {}, s.undo)])));
}

function endpoints() {
  const pair = (title, field, text) => ({
    title, right: true, value: (r) => (r.after || r.before)[field],
    text: (r) => (r.before && r.after ? [el("span", { class: "was" }, `${text(r.before[field])} → `), text(r.after[field])] : text((r.after || r.before)[field])),
  });
  return el("div", { class: "card" }, table([
    { title: "endpoint", name: true, text: (r) => [r.endpoint, r.service && el("div", { class: "dim small" }, r.service)], value: (r) => r.endpoint },
    pair("rate", "rate_per_s", rate), pair("p50", "p50_ms", ms), pair("p95", "p95_ms", ms), pair("p99", "p99_ms", ms), pair("errors", "error_share", percent),
    { title: "traces", right: true, value: (r) => (r.after || r.before).traces, text: (r) => count((r.after || r.before).traces) },
  ], data.endpoints, { label: "Endpoints", first: 20 }), data.endpoints_left_out > 0 && el("p", { class: "small dim" }, `… ${count(data.endpoints_left_out)} more endpoints are not listed; those with goals, findings and the most time are.`));
}

function unseen() {
  const rules = new Map();
  data.rules_not_run.forEach((r) => rules.set(r.missing_signal, [...(rules.get(r.missing_signal) || []), r.rule]));
  return [
    data.doubts.map((d) => el("div", { class: `alert ${d.invalid ? "bad" : ""}` }, el("strong", {}, `${d.invalid ? "Not valid" : "Doubtful"} (${whenName(d.when)}), ${words(d.kind)}: `), d.reason, " ", d.hint)),
    data.gaps.length > 0 && el("div", { class: "card" }, table([{ title: "signal", name: true, text: (g) => g.signal }, { title: "not seen", text: (g) => g.reason }, { title: "what to do", text: (g) => g.hint }], data.gaps, { prose: true, sortable: false, label: "Gaps" })),
    rules.size > 0 && el("div", { class: "card" }, table([{ title: "missing signal", name: true, text: (r) => r[0] }, { title: "rules that could not run", text: (r) => r[1].map(words).join(", ") }], [...rules], { prose: true, sortable: false, label: "Rules not run" })),
    !data.gaps.length && !rules.size && empty("gaps"),
  ];
}

function environment() {
  const window = (w) => [w.id && `recording ${w.id}`, w.start, known(w.seconds) && `${digits(w.seconds)} s`, plural(w.requests, "request"), plural(w.traces, "trace"), plural(w.spans, "span"), !w.complete && "ended early"].filter(Boolean).join(" · ");
  return el("div", { class: "card" }, el("dl", { class: "facts" }, data.windows.map((w) => [el("dt", {}, whenName(w.when)), el("dd", {}, window(w))]), data.environment.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    data.environment.length === 0 && el("p", { class: "dim" }, data.missing.environment));
}

function setTheme(theme, keep) {
  root.dataset.theme = theme;
  // A file opened from disk may not be allowed to remember.
  if (keep) try { localStorage.setItem("trimtab-theme", theme); } catch { /* the toggle still works */ }
}
function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let stored = null;
  try { stored = localStorage.getItem("trimtab-theme"); } catch { /* as above */ }
  setTheme(stored === "dark" || stored === "light" ? stored : dark.matches ? "dark" : "light", false);
  if (!stored) dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light", false));
}

function page() {
  const series = data.charts.map(seriesChart).filter(Boolean);
  const open = data.findings.length, was = data.findings_first.length;
  const alone = data.database_alone;
  const content = [
    !alone && section("goals", ["Goals"], null, data.goals.length, data.goals.length ? el("div", { class: "goals" }, data.goals.map(goal)) : empty("goals")),
    data.levels && section("levels", ["How much it can take", "Levels"], "Stepped load: what each level showed, and what they say together. The rest of this page is of the reference level alone.", data.levels.levels.length, levels(data.levels)),
    (two || data.steps.length > 0) && section("steps", ["Steps"], data.steps.length ? "One change at a time: found, predicted, applied, measured, judged." : null, data.steps.length,
      data.steps.length ? [predictionChart(data.steps), data.steps.map(step), data.steps_left_out > 0 && el("p", { class: "dim" }, `… ${plural(data.steps_left_out, "more step")} not shown`)] : empty("steps")),
    !alone && section("endpoints", ["Endpoints"], null, data.endpoints.length + data.endpoints_left_out, data.endpoints.length ? endpoints() : empty("endpoints")),
    data.time.length > 0 && section("spent", ["Where a request's time goes", "Time"], "Told from the load's mix, without traces: which endpoint makes which counters grow. Intervals of 95 %; parts may overlap.", data.time.length, timeSpent()),
    !alone && section("distributions", ["Response times"], data.charts.length ? "How long requests took, on a logarithmic axis." : null, null, data.charts.length ? el("div", { class: "charts" }, data.charts.map(distributionChart)) : empty("charts")),
    series.length > 0 && section("time", ["Over time"], "A steady picture is what makes the figures worth comparing.", null, el("div", { class: "charts" }, series)),
    !alone && section("traces", ["Inside a request", "Traces"], data.waterfalls.length ? "A typical and a slow trace; alike calls share a row." : null, null, data.waterfalls.length ? waterfalls(data.waterfalls) : empty("waterfalls")),
    data.flames.length > 0 && section("functions", ["Functions"], "What the service's threads did: widths are time, in the states that the kernel counted.", null, flameGraph(data.flames)),
    !alone && section("findings", [two ? "Findings still open" : "Findings", "Findings"], open ? "Ranked by what the fix would bring." : null, open, open ? [findingList(data.findings, "finding"), data.findings.map((f, n) => finding(f, n, "finding"))] : empty("findings"),
      data.findings_left_out > 0 && el("p", { class: "dim" }, `… ${plural(data.findings_left_out, "more finding")} not shown`),
      was > 0 && el("details", {}, el("summary", {}, `${plural(was, "finding")} of the first measurement`), data.findings_first.map((f, n) => finding(f, n, "first")))),
    data.statements.length > 0 && section("database", ["Database"], "Statements by their time, with the plan that the database chose and the rows that came of it.", data.statements.length + data.statements_left_out, [data.statements.map(statement), data.statements_left_out > 0 && el("p", { class: "dim" }, `… ${plural(data.statements_left_out, "more statement")} not shown`)]),
    data.state.length > 0 && section("state", ["State of the database", "State"], "What should be looked at beside its statements, with SQL to mend it and to take that back.", data.state.length + data.state_left_out, [data.state.map(serverState), data.state_left_out > 0 && el("p", { class: "dim" }, `… ${plural(data.state_left_out, "more line")} not shown`)]),
    section("unseen", ["What could not be seen", "Not seen"], null, data.gaps.length, unseen()),
    section("environment", ["Where and when", "Environment"], null, null, environment()),
  ];
  const nav = el("nav", { class: "nav", "aria-label": "Sections" }, el("div", { class: "wrap" }, sections.map((s) => el("a", { href: `#${s.id}` }, s.title, s.n > 0 && el("span", { class: "n" }, count(s.n))))));
  document.getElementById("page").replaceChildren(header(), nav, el("main", { id: "content", class: "wrap" }, content),
    el("footer", { class: "wrap" }, data.left_out.map((l) => el("p", {}, l)), el("p", {}, "Made by Trimtab. This file needs no network and asks for none.")));
}

addEventListener("beforeprint", () => { document.querySelectorAll("details:not(.as-table)").forEach((d) => { d.open = true; }); });
theme();
page();
redraw();
root.dataset.state = "drawn";
