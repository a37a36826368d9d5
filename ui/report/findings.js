// Findings: a list that leads to each, and for each the request before and after its fix on one scale.
const CLASS_KINDS = { db: "db", cache: "cache", server: "server", http: "call", rpc: "call", browser: "call", messaging: "messaging" };

function rerunBar(stretch, row, total) {
  if (!stretch) return el("span", { class: "small dim" }, "not made any more");
  const kind = CLASS_KINDS[row.class] || "internal", length = stretch.end_ms - stretch.start_ms;
  const text = `${stretch.calls > 1 ? `${count(stretch.calls)} × ` : ""}${row.name}\n${ms(stretch.start_ms)} to ${ms(stretch.end_ms)}${stretch.calls > 1 ? `, together ${ms(stretch.total_ms)}` : ""}`;
  return tipped(el("div", { class: "track" }, place(el("i", { class: `k-${kind}` }), stretch.start_ms, length, total)), () => text);
}

function rerun(w, label) {
  const total = Math.max(w.before_ms, w.after_ms, ...w.rows.map((r) => Math.max(r.before.end_ms, r.after ? r.after.end_ms : 0)), 1e-6);
  const times = (r) => {
    const now = r.after ? r.after.calls : 0;
    return now > 0 && now !== r.before.calls ? `${count(r.before.calls)} → ${count(now)} × ` : r.before.calls > 1 ? `${count(r.before.calls)} × ` : "";
  };
  const row = (r) => {
    const name = el("div", { class: "label", title: r.name }, r.found && el("span", { class: "flag", "aria-label": "part of the finding" }, "◆"),
      el("span", { class: "times" }, times(r)), el("span", { class: "what" }, r.name), r.service && el("span", { class: "svc" }, r.service));
    name.style.setProperty("--depth", r.depth);
    const after = r.after ? ms(r.after.end_ms - r.after.start_ms) : "gone";
    return el("tr", { class: r.found ? "found" : null }, el("td", { class: "w-name" }, name), el("td", { class: "w-track" }, rerunBar(r.before, r, total)),
      el("td", { class: "w-ms r" }, ms(r.before.end_ms - r.before.start_ms)), el("td", { class: "w-track" }, rerunBar(r.after, r, total)), el("td", { class: "w-ms r" }, after));
  };
  return el("div", { class: "rerun" },
    el("h4", {}, `One request: ${ms(w.before_ms)} as recorded, ${ms(w.after_ms)} run again with the fix`),
    el("table", { class: "wf twice", "aria-label": label },
      el("colgroup", {}, ["w-name", null, "w-ms", null, "w-ms"].map((c) => el("col", { class: c }))),
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "w-name" }, "calls"), el("th", { scope: "col", colspan: 2 }, "as recorded"), el("th", { scope: "col", colspan: 2 }, "with the fix"))),
      el("tbody", {}, w.rows.map(row))),
    el("p", { class: "small dim" }, w.hidden > 0 && `${plural(w.hidden, "more span")} not drawn. `, "The prediction above is of the endpoint's percentile under this load; this is one trace of it."));
}

function traceIds(ids) {
  if (!ids.length) return null;
  const one = (id) => {
    const code = el("code", { class: "pick" }, id);
    return data.trace_url && /^[0-9a-f]{32}$/.test(id) ? el("a", { href: data.trace_url.replaceAll("{trace_id}", id), rel: "noreferrer", target: "_blank" }, code) : code;
  };
  return el("details", {}, el("summary", {}, plural(ids.length, "trace id")), el("p", { class: "ids" }, ids.map((id) => [one(id), " "])));
}

function finding(f, n, prefix) {
  const [tone, severity] = SEVERITIES[f.severity], p = f.prediction;
  const figures = [known(f.calls_per_request) && `${digits(f.calls_per_request)} call${f.calls_per_request === 1 ? "" : "s"} per request`, known(f.share_of_critical_path) && `${percent(f.share_of_critical_path)} of the critical path`,
    f.traces_of > 0 && `in ${count(f.traces)} of ${count(f.traces_of)} traces`, known(f.confidence) && `confidence ${percent(f.confidence)}`];
  return el("article", { class: "card finding", id: `${prefix}-${n + 1}`, "aria-label": `Finding ${n + 1}` },
    el("h3", {}, `${n + 1}. ${f.title}`),
    el("div", { class: "chips" }, chip(tone, severity), el("span", { class: "small dim" }, [words(f.rule), f.endpoint, f.service].filter(Boolean).join(" · "))),
    p && el("div", { class: "predict" }, el("span", {}, p.metric), el("strong", {}, `${ms(p.before_ms)} → ${ms(p.after.value)}`), el("span", { class: "dim" }, `${range(p.after.low, p.after.high)}, grade ${p.grade}`)),
    evidence(f.evidence), place2(f),
    el("p", { class: "small dim" }, figures.filter(Boolean).join(" · ")),
    p && p.assumption && el("p", { class: "small dim" }, `Assumed: ${p.assumption}`),
    f.rerun && rerun(f.rerun, `Before and after of finding ${n + 1}`), remedies(f), plan(f), traceIds(f.trace_ids));
}

function findingList(all, prefix) {
  if (all.length < 2) return null;
  return el("div", { class: "card list" }, table([
    { title: "finding", name: true, text: (r) => [el("a", { href: `#${prefix}-${r.n + 1}` }, `${r.n + 1}. ${r.f.title}`)], value: (r) => r.n },
    { title: "endpoint", text: (r) => r.f.endpoint, value: (r) => r.f.endpoint },
    { title: "rule", text: (r) => words(r.f.rule), value: (r) => r.f.rule },
    { title: "predicted p95", right: true, text: (r) => (r.f.prediction ? `${ms(r.f.prediction.before_ms)} → ${ms(r.f.prediction.after.value)}` : "–"), value: (r) => (r.f.prediction ? r.f.prediction.before_ms - r.f.prediction.after.value : 0) },
  ], all.map((f, n) => ({ f, n })), { label: "List of findings", first: 20 }));
}
