// Stepped load: throughput with the fitted curve and its band, response time, and how full each resource was.
const LIMITS = { resource: "Full first", unseen: "What is full was not watched", generator: "The generator was the limit", machine: "This machine was the limit", not_reached: "No limit was reached" };
const STATES = { steady: ["good", "steady"], unsettled: ["warn", "not settled"], overloaded: ["bad", "overloaded"], generator_limited: ["warn", "generator too slow"] };
const LINES = ["c-actual", "c-predicted", "c-good", "c-call", "c-before"];
const estimate = (e, show) => (e ? `${show(e.value)} (${digits(e.low)} ${known(e.high) ? `to ${digits(e.high)}` : "or more"})` : "–");
const levelName = (l) => (l.kind === "rate" ? rate(l.asked) : plural(l.asked, "user"));
const resourceName = (r) => (r.owner ? `${r.name} of ${r.owner}` : r.name);

// A frame with ticks; `across` and `up` map values to the drawing.
function plotFrame(width, height, x, y, label) {
  const left = 56, right = width - 10, top = 14, base = height - 40;
  const log = (v, axis) => Math.log(v / axis.low) / Math.log(axis.high / axis.low);
  const part = (v, axis) => (axis.log ? log(Math.max(v, axis.low), axis) : (v - axis.low) / (axis.high - axis.low));
  const across = (v) => left + part(v, x) * (right - left);
  const up = (v) => base - Math.min(1.03, Math.max(0, part(v, y))) * (base - top);
  const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const ticks = (axis, most) => (axis.log ? logTicks(axis.low, axis.high, most) : linearTicks(axis.high, most));
  for (const t of ticks(y, 5)) out.append(svg("line", { class: "grid", x1: left, x2: right, y1: up(t), y2: up(t) }), svg("text", { x: left - 6, y: up(t) + 4, "text-anchor": "end" }, y.show(t)));
  for (const t of ticks(x, Math.floor(width / 74))) out.append(svg("line", { class: "grid", x1: across(t), x2: across(t), y1: top, y2: base }), svg("text", { x: across(t), y: base + 16, "text-anchor": across(t) > right - 24 ? "end" : "middle" }, x.show(t)));
  out.append(svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, x.title));
  return { out, across, up, left, right, top, base };
}
const path = (points) => points.map(([x, y], n) => `${n ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function throughputPlot(s) {
  const levels = s.levels.filter((l) => l.concurrency > 0), curve = s.curve.points;
  if (levels.length < 2) return null;
  const ns = [...levels.map((l) => l.concurrency), ...curve.map((p) => p.concurrency)];
  const most = Math.max(...levels.map((l) => l.throughput_per_s.value), ...curve.map((p) => p.rate.value)) * 1.15;
  const x = { log: true, low: Math.min(...ns) / 1.1, high: Math.max(...ns) * 1.1, show: digits, title: "requests at once in the service" };
  const y = { low: 0, high: most, show: rate };
  const draw = (width) => {
    const f = plotFrame(width, 290, x, y, "Throughput over requests at once");
    if (curve.length > 1) {
      const edge = (of) => curve.map((p) => [f.across(p.concurrency), f.up(Math.min(of(p), most))]);
      const band = path(edge((p) => (known(p.rate.high) ? p.rate.high : most))) + path(edge((p) => p.rate.low).reverse()).replace("M", "L") + "Z";
      f.out.append(svg("path", { class: "c-predicted band", d: band }), svg("path", { class: "c-predicted line", d: path(edge((p) => p.rate.value)) }));
    }
    if (s.knee.seen && s.knee.concurrency) {
      const at = f.across(s.knee.concurrency.value);
      f.out.append(svg("line", { class: "goal-line", x1: at, x2: at, y1: f.top, y2: f.base }), svg("text", { class: "strong", x: at + 5, y: f.top + 10 }, "knee"));
    }
    for (const l of levels) {
      const at = f.across(l.concurrency), t = l.throughput_per_s;
      f.out.append(svg("path", { class: "c-actual whisker", d: `M${at} ${f.up(t.low)}V${f.up(known(t.high) ? t.high : t.value)}` }),
        tipped(svg("circle", { class: `c-actual ${l.state === "steady" ? "" : "hollow"}`, cx: at, cy: f.up(t.value), r: 5 }), () => `${levelName(l)}: ${rate(t.value)} answered\n${digits(l.concurrency)} requests at once\n${STATES[l.state][1]}`));
    }
    return f.out;
  };
  return el("figure", { class: "card", id: "levels-throughput" }, el("figcaption", {}, el("h3", {}, "Answered"), el("p", { class: "small dim" }, curve.length > 1 ? "points: levels, hollow where not steady; line and band: Universal Scalability Law with its 95 % interval" : "points: levels, hollow where not steady")), responsive(draw));
}

function responsePlot(s) {
  const levels = s.levels.filter((l) => l.p95_ms > 0 && l.throughput_per_s.value > 0).sort((a, b) => a.offered_per_s - b.offered_per_s);
  if (levels.length < 2) return null;
  const values = levels.flatMap((l) => [l.p50_ms, l.p95_ms]).filter((v) => v > 0);
  const x = { low: 0, high: Math.max(...levels.map((l) => l.offered_per_s)) * 1.08, show: rate, title: "arrivals a second" };
  const y = { log: true, low: Math.min(...values) / 1.3, high: Math.max(...values) * 1.3, show: ms };
  const draw = (width) => {
    const f = plotFrame(width, 290, x, y, "Response times over arrivals");
    const line = (of, style) => f.out.append(svg("path", { class: `c-actual line ${style}`, d: path(levels.map((l) => [f.across(l.offered_per_s), f.up(of(l))])) }));
    line((l) => l.p95_ms, ""); line((l) => l.p50_ms, "thin");
    const goals = s.goal_rate && s.goal_rate.rate;
    if (goals) {
      const at = f.across(Math.min(goals.value, x.high));
      f.out.append(known(goals.high) && svg("rect", { class: "c-good band", x: f.across(goals.low), width: Math.max(2, f.across(Math.min(goals.high, x.high)) - f.across(goals.low)), y: f.top, height: f.base - f.top }) || svg("g"),
        svg("line", { class: "goal-line", x1: at, x2: at, y1: f.top, y2: f.base }), svg("text", { class: "strong", x: at > f.right - 110 ? at - 5 : at + 5, y: f.top + 10, "text-anchor": at > f.right - 110 ? "end" : "start" }, known(goals.high) ? "goals met to here" : "goals met"));
    }
    for (const l of levels) f.out.append(tipped(svg("circle", { class: `c-actual ${l.state === "steady" ? "" : "hollow"}`, cx: f.across(l.offered_per_s), cy: f.up(l.p95_ms), r: 5 }), () => `${levelName(l)}: p95 ${ms(l.p95_ms)}, p50 ${ms(l.p50_ms)}\n${percent(l.error_share)} errors\n${l.goals.filter((g) => !g.met).map((g) => `misses ${g.goal}`).join("\n")}`));
    return f.out;
  };
  return el("figure", { class: "card", id: "levels-response" }, el("figcaption", {}, el("h3", {}, "Response times"), el("p", { class: "small dim" }, "p95 solid, p50 dashed, from the moment a request was due")), responsive(draw));
}

function usePlot(s) {
  const shown = s.resources.filter((r) => r.limit > 0 && r.used.filter(known).length > 1).slice(0, LINES.length);
  const order = s.levels.map((l, n) => ({ x: l.throughput_per_s.value, n })).filter((p) => p.x > 0).sort((a, b) => a.x - b.x);
  if (!shown.length || order.length < 2) return null;
  const x = { low: 0, high: order[order.length - 1].x * 1.08, show: rate, title: "answered a second" };
  const y = { low: 0, high: 1.05, show: percent };
  const points = (r) => order.filter((p) => known(r.used[p.n])).map((p) => [p.x, r.used[p.n] / r.limit]);
  const draw = (width) => {
    const f = plotFrame(width, 290, x, y, "Use of resources over throughput");
    shown.forEach((r, n) => {
      const at = points(r).map(([rx, ry]) => [f.across(rx), f.up(ry)]);
      f.out.append(svg("path", { class: `${LINES[n]} line ${r.part ? "thin" : ""}`, d: path(at) }));
      points(r).forEach(([rx, ry], i) => f.out.append(tipped(svg("circle", { class: LINES[n], cx: at[i][0], cy: at[i][1], r: 3.5 }), () => `${resourceName(r)}: ${percent(ry)} at ${rate(rx)}`)));
    });
    return f.out;
  };
  const legend = shown.map((r, n) => el("span", {}, svg("svg", { width: 26, height: 12, "aria-hidden": "true" }, svg("path", { class: `${LINES[n]} line ${r.part ? "thin" : ""}`, d: "M1 6H25" })), resourceName(r)));
  return el("figure", { class: "card", id: "levels-use" }, el("figcaption", {}, el("h3", {}, "In use"), el("p", { class: "small dim" }, "share of each resource's limit; dashed: a process's part of the machine's CPU"), el("div", { class: "legend" }, legend)), responsive(draw));
}

const cost = (r) => (r.demand ? (r.unit === "bytes/s" ? `${count(Math.round(r.demand.value))} bytes` : `${ms(r.demand.value * 1e3)}${r.unit === "cores" ? " CPU" : ""}`) : "–");
function levelFacts(s) {
  const fact = (name, ...text) => [el("dt", {}, name), el("dd", {}, ...text)];
  const g = s.goal_rate, k = s.knee, r = s.replicas, c = s.curve;
  return el("div", { class: "card" }, el("dl", { class: "facts" },
    g && fact("Meets the goals", g.rate ? [el("strong", {}, known(g.rate.high) ? `up to ${estimate(g.rate, rate)}` : `up to ${rate(g.rate.value)} at least`), `; ${g.reason}`] : [el("strong", {}, "never"), `: ${g.reason}`]),
    fact("Knee", k.seen && k.rate ? [el("strong", {}, estimate(k.rate, rate)), ` at ${estimate(k.concurrency, digits)} requests at once; ${k.reason}`] : k.reason),
    s.ceiling && fact("Most it answers", el("strong", {}, estimate(s.ceiling.rate, rate)), s.ceiling.measured ? "" : "; by the curve, no level was there"),
    fact(LIMITS[s.limit.kind], s.limit.reason, el("div", { class: "dim" }, s.limit.hint)),
    s.bounds && fact("Bounds", `no request takes less than ${ms(s.bounds.least_ms)}, no more than ${rate(s.bounds.most_per_s)} are answered; from ${digits(s.bounds.concurrency)} requests at once on they queue`),
    r && fact(`Replicas for ${rate(r.for_rate)}`, el("strong", {}, known(r.count) ? `${r.count}${known(r.low) && known(r.high) && r.low !== r.high ? ` (${r.low} to ${r.high})` : ""}` : "none is enough"), `: ${r.reason}`, el("div", { class: "dim" }, `Assumes: ${r.assumption}`)),
    fact("Curve", { fits: "USL fits: ", does_not_fit: "USL does not fit: ", cannot_tell: "Cannot tell: " }[c.status], c.reason,
      c.sigma && el("div", { class: "dim" }, `one at a time ${estimate(c.gamma, rate)}, contention σ ${estimate(c.sigma, digits)}, coherence κ ${estimate(c.kappa, digits)}`)),
    fact("Ended", s.stop.reason)));
}

function levels(s) {
  const doubts = s.levels.flatMap((l) => l.doubts.map((d) => `at ${levelName(l)}: ${d}`));
  return [levelFacts(s), el("div", { class: "charts" }, [throughputPlot(s), responsePlot(s), usePlot(s)].filter(Boolean)),
    el("div", { class: "card" }, table([
      { title: "level", name: true, text: (l) => levelName(l) }, { title: "answered", right: true, text: (l) => rate(l.throughput_per_s.value) }, { title: "at once", right: true, text: (l) => digits(l.concurrency) },
      { title: "p50", right: true, text: (l) => ms(l.p50_ms) }, { title: "p95", right: true, text: (l) => ms(l.p95_ms) }, { title: "p99", right: true, text: (l) => ms(l.p99_ms) }, { title: "errors", right: true, text: (l) => percent(l.error_share) },
      { title: "state", text: (l) => chip(...STATES[l.state]) },
    ], s.levels, { sortable: false, label: "Levels" })),
    s.resources.length > 0 && el("div", { class: "card" }, table([
      { title: "resource", name: true, text: (r) => resourceName(r) }, { title: "used at most", right: true, text: (r) => (r.limit > 0 ? percent(Math.max(...r.used.filter(known)) / r.limit) : digits(Math.max(...r.used.filter(known)))) },
      { title: "a request costs", right: true, text: cost }, { title: "full at", right: true, text: (r) => (r.full_at_per_s ? estimate(r.full_at_per_s, rate) : "–") },
    ], s.resources, { sortable: false, label: "Resources" })),
    doubts.length > 0 && el("details", {}, el("summary", {}, plural(doubts.length, "doubt")), el("ul", { class: "evidence" }, doubts.map((d) => el("li", {}, d))))];
}
