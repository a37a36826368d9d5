// Charts: prediction against outcome, distributions, series. Each is a figure with a table of the same numbers.
const NAMES = { before: "before", after: "after" };
const two = data.windows.length > 1;
const whenName = (when) => (two ? NAMES[when] : "measured");

function mark(kind, x, y) {
  if (kind === "before") return svg("circle", { class: "c-before hollow", cx: x, cy: y, r: 5 });
  if (kind === "actual") return svg("circle", { class: "c-actual", cx: x, cy: y, r: 5 });
  return svg("path", { class: "c-predicted", d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });
}
function key(kind, text, interval) {
  const c = `c-${kind}`;
  return el("span", {}, svg("svg", { width: 30, height: 14, "aria-hidden": "true" },
    interval && (kind === "predicted" ? svg("rect", { class: `${c} band`, x: 1, y: 2, width: 28, height: 10, rx: 2 }) : svg("path", { class: `${c} whisker`, d: "M1 3v8M1 7h28M29 3v8" })),
    mark(kind, 15, 7)), text);
}

// Every step on one axis: the value after as share of the value before, so that steps of different endpoints compare.
function predictionChart(steps) {
  const drawn = steps.filter((s) => s.before_ms > 0 && (s.predicted || s.actual));
  if (!drawn.length) return el("div", { class: "card empty" }, "None of the steps has both a value before and a prediction or an outcome, so there is nothing to compare.");
  const shares = drawn.flatMap((s) => [s.predicted, s.actual].filter(Boolean).flatMap((v) => [v.value, v.high]).map((v) => v / s.before_ms));
  const top = Math.min(2.5, Math.max(1, ...shares) * 1.06);
  const scale = (width) => (share) => 8 + Math.min(share, top) / top * (width - 16);
  const row = (s) => {
    const draw = (width) => {
      const x = scale(width), at = (v) => x(v / s.before_ms), end = s.actual || s.predicted;
      return svg("svg", { width, height: 46, viewBox: `0 0 ${width} 46`, role: "img", "aria-label": describe(s) },
        linearTicks(top, 6).map((t) => svg("line", { class: "grid", x1: x(t), x2: x(t), y1: 0, y2: 46 })),
        svg("line", { class: "axisline", x1: x(1), x2: at(end.value), y1: 23, y2: 23, "stroke-dasharray": "2 3" }),
        s.predicted && [svg("rect", { class: "c-predicted band", x: at(s.predicted.low), width: Math.max(3, at(s.predicted.high) - at(s.predicted.low)), y: 6, height: 14, rx: 3 }), mark("predicted", at(s.predicted.value), 13)],
        s.actual && [svg("path", { class: "c-actual whisker", d: `M${at(s.actual.low)} 28v10M${at(s.actual.low)} 33H${at(s.actual.high)}M${at(s.actual.high)} 28v10` }), mark("actual", at(s.actual.value), 33)],
        mark("before", x(1), 23));
    };
    return el("div", { class: "pa" },
      el("div", {}, el("div", { class: "what" }, `${s.number}. ${s.change}`),
        el("div", { class: "num" }, s.metric, el("br"), `${ms(s.before_ms)} → `,
          el("span", { class: "p" }, s.predicted ? ms(s.predicted.value) : "–"), " predicted, ",
          el("span", { class: "a" }, s.actual ? ms(s.actual.value) : "–"), " actual")),
      tipped(responsive(draw), () => describe(s)));
  };
  const axis = (width) => {
    const x = scale(width);
    return svg("svg", { width, height: 34, viewBox: `0 0 ${width} 34`, "aria-hidden": "true" },
      linearTicks(top, width < 420 ? 4 : 6).map((t) => [svg("line", { class: "axisline", x1: x(t), x2: x(t), y1: 0, y2: 4 }),
        svg("text", { x: x(t), y: 16, "text-anchor": t === 0 ? "start" : x(t) > width - 24 ? "end" : "middle" }, percent(t))]),
      svg("text", { x: width / 2, y: 31, "text-anchor": "middle" }, "after, as share of the value before"));
  };
  return el("figure", { class: "card", id: "prediction-chart" },
    el("figcaption", {}, el("h3", {}, "Predicted against actual"), el("div", { class: "legend" },
      key("before", "before"), key("predicted", "predicted, 90 % interval", true), key("actual", "actual, 95 % interval", true)),
      drawn.some((s) => s.finding.prediction) && el("p", { class: "small dim" }, "Grade of a prediction: A the fix was tried and measured, B every recorded trace was re-simulated with it, C a model with a stated assumption.")),
    drawn.map(row), el("div", { class: "pa axis" }, el("div"), responsive(axis)),
    asTable([
      { title: "step", text: (s) => `${s.number}. ${s.change}` }, { title: "metric", text: (s) => s.metric },
      { title: "before", right: true, text: (s) => ms(s.before_ms) }, { title: "predicted", right: true, text: (s) => span3(s.predicted) },
      { title: "actual", right: true, text: (s) => span3(s.actual) }, { title: "error", right: true, text: (s) => percent(s.error_share) },
    ], steps, "Predicted against actual"));
}
function describe(s) {
  return `Step ${s.number}, ${s.change}\n${s.metric}: ${ms(s.before_ms)} before\npredicted ${span3(s.predicted)}\nactual ${span3(s.actual)}`
    + (known(s.error_share) ? `\nprediction off by ${percent(s.error_share)} of the value before` : "");
}

const parts = (chart) => ["before", "after"].filter((w) => chart[w]).map((when) => ({ when, tone: when === "after" ? "c-actual" : two ? "c-before" : "c-predicted", ...chart[when] }));

// Ridges on one logarithmic axis: height is the share of requests, the ticks are p50, p95 and p99.
function distributionChart(chart) {
  const ridges = parts(chart);
  const ends = ridges.map((r) => [r.distribution.from_ms, r.distribution.from_ms * r.distribution.factor ** r.distribution.shares.length]);
  const limit = chart.limit && chart.limit[1] > 0 ? chart.limit[1] : null;
  const low = Math.max(1e-6, Math.min(...ends.map((e) => e[0]), limit || Infinity) / 1.15);
  const high = Math.max(...ends.map((e) => e[1]), limit || 0) * 1.15;
  const density = (d) => d.shares.map((s) => s / Math.log(d.factor));
  const most = Math.max(...ridges.flatMap((r) => density(r.distribution)));
  const draw = (width) => {
    const rowHeight = 92, head = 18, height = head + rowHeight * ridges.length + 26, left = 4, right = width - 4;
    const x = (v) => left + (Math.log(v / low) / Math.log(high / low)) * (right - left);
    const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": ridges.map((r) => `${whenName(r.when)}: ${quantiles(r.distribution)}`).join("; ") });
    for (const t of logTicks(low, high, Math.floor(width / 62))) {
      const at = x(t);
      out.append(svg("line", { class: "grid", x1: at, x2: at, y1: head, y2: height - 22 }),
        svg("text", { x: at, y: height - 7, "text-anchor": at < 24 ? "start" : at > width - 24 ? "end" : "middle" }, ms(t)));
    }
    ridges.forEach((r, n) => {
      const d = r.distribution, base = head + rowHeight * (n + 1) - 14, ys = density(d);
      const y = (v) => base - (v / most) * (rowHeight - 34);
      let path = `M${x(d.from_ms)} ${base}`;
      ys.forEach((v, i) => { path += `L${x(d.from_ms * d.factor ** (i + 0.5)).toFixed(1)} ${y(v).toFixed(1)}`; });
      path += `L${x(d.from_ms * d.factor ** ys.length)} ${base}Z`;
      out.append(svg("path", { class: `${r.tone} area`, d: path }), svg("line", { class: "axisline", x1: left, x2: right, y1: base, y2: base }),
        svg("text", { x: left + 2, y: base - rowHeight + 30, class: "strong" }, whenName(r.when)));
      let edge = -1e9;
      for (const [name, v] of [["p50", d.p50_ms], ["p95", d.p95_ms], ["p99", d.p99_ms]]) {
        const at = x(v);
        out.append(svg("line", { class: r.tone, "stroke-width": 2, x1: at, x2: at, y1: base - 5, y2: base + 3 }));
        if (at - edge > 26 || edge < 0) {
          out.append(svg("text", { x: Math.min(at, right - 10), y: base + 13, "text-anchor": "middle" }, name));
          edge = at;
        }
      }
    });
    if (limit) {
      const at = x(limit);
      out.append(svg("line", { class: "goal-line", x1: at, x2: at, y1: head - 4, y2: height - 22 }),
        svg("text", { x: at, y: 11, class: "strong", "text-anchor": at > width - 90 ? "end" : at < 90 ? "start" : "middle" }, `goal p${digits(chart.limit[0] * 100)} < ${ms(limit)}`));
    }
    const cross = svg("line", { class: "cross", y1: head, y2: height - 22, visibility: "hidden" });
    out.append(cross);
    return tipped(out, (e) => {
      if (!e) return ridges.map((r) => `${whenName(r.when)}: ${quantiles(r.distribution)}`).join("\n");
      const at = e.clientX - out.getBoundingClientRect().left, value = low * (high / low) ** ((at - left) / (right - left));
      fill(cross, { x1: at, x2: at, visibility: "visible" }, []);
      return `within ${ms(value)}\n` + ridges.map((r) => `${whenName(r.when)}: ${percent(within(r.distribution, value))} of requests`).join("\n");
    });
  };
  return el("figure", { class: "card distribution" }, el("figcaption", {}, el("h3", {}, chart.endpoint),
    el("p", { class: "small dim" }, ridges.map((r) => `${whenName(r.when)}: ${count(r.distribution.count)} ${r.distribution.source === "traces" ? "traces" : "requests"}`).join(" · "))),
  responsive(draw), asTable([
    { title: "", text: (r) => whenName(r.when) }, { title: "count", right: true, text: (r) => count(r.distribution.count) },
    { title: "p50", right: true, text: (r) => ms(r.distribution.p50_ms) }, { title: "p95", right: true, text: (r) => ms(r.distribution.p95_ms) },
    { title: "p99", right: true, text: (r) => ms(r.distribution.p99_ms) },
  ], ridges, `Response times of ${chart.endpoint}`));
}
const quantiles = (d) => `p50 ${ms(d.p50_ms)}, p95 ${ms(d.p95_ms)}, p99 ${ms(d.p99_ms)}`;
function within(d, value) {
  const bins = Math.log(value / d.from_ms) / Math.log(d.factor);
  let sum = 0;
  d.shares.forEach((s, i) => { sum += s * Math.max(0, Math.min(1, bins - i)); });
  return Math.min(1, sum);
}

// Percentiles (logarithmic) above throughput (from zero), the windows side by side on the same axes.
function seriesChart(chart) {
  const shown = parts(chart).filter((p) => p.series);
  const all = shown.flatMap((p) => [...p.series.p50, ...p.series.p95]).filter((v) => known(v) && v > 0);
  if (!shown.length || !all.length) return null;
  const low = Math.min(...all) / 1.2, high = Math.max(...all) * 1.2;
  const topRate = Math.max(...shown.flatMap((p) => p.series.rate), 1e-9) * 1.12;
  const draw = (width) => {
    const left = 50, gap = 22, height = 250, mid = 152, base = 226, panel = (width - left - 4 - gap * (shown.length - 1)) / shown.length;
    const y = (v) => mid - (Math.log(v / low) / Math.log(high / low)) * (mid - 20);
    const yRate = (v) => base - (v / topRate) * (base - mid - 16);
    const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Percentiles and throughput of ${chart.endpoint} over time` });
    for (const t of logTicks(low, high, 5)) out.append(svg("line", { class: "grid", x1: left, x2: width - 4, y1: y(t), y2: y(t) }), svg("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, ms(t)));
    for (const t of linearTicks(topRate, 2)) out.append(svg("line", { class: "grid", x1: left, x2: width - 4, y1: yRate(t), y2: yRate(t) }), svg("text", { x: left - 6, y: yRate(t) + 4, "text-anchor": "end" }, rate(t)));
    shown.forEach((p, n) => {
      const s = p.series, from = left + n * (panel + gap), bins = s.rate.length;
      const x = (i) => from + (bins > 1 ? (i / (bins - 1)) * panel : panel / 2);
      const curve = (values) => { let d = "", pen = "M"; values.forEach((v, i) => { if (known(v) && v > 0) { d += `${pen}${x(i).toFixed(1)} ${y(v).toFixed(1)}`; pen = "L"; } else pen = "M"; }); return d; };
      const seconds = s.seconds;
      out.append(svg("text", { x: from, y: 12, class: "strong" }, whenName(p.when)),
        svg("path", { class: `${p.tone} line`, d: curve(s.p95) }), svg("path", { class: `${p.tone} line thin`, d: curve(s.p50) }),
        svg("path", { class: `${p.tone} area`, d: `M${x(0)} ${base}` + s.rate.map((v, i) => `L${x(i).toFixed(1)} ${yRate(v).toFixed(1)}`).join("") + `L${x(bins - 1)} ${base}Z` }),
        s.errors.map((v, i) => v > 0 && svg("path", { class: "axisline", stroke: "currentColor", d: `M${x(i) - 3} ${base + 3}l3 -5l3 5z` })).filter(Boolean).reduce((g, m) => { g.append(m); return g; }, svg("g")),
        svg("text", { x: from, y: height - 6 }, "0 s"), svg("text", { x: from + panel, y: height - 6, "text-anchor": "end" }, `${digits(seconds)} s`));
      out.append(tipped(svg("rect", { x: from, y: 0, width: panel, height: base, fill: "transparent" }), (e) => {
        const share = e ? (e.clientX - out.getBoundingClientRect().left - from) / panel : 1;
        const i = Math.max(0, Math.min(bins - 1, Math.round(share * (bins - 1))));
        return `${whenName(p.when)}, ${digits(i * s.bin_s)} to ${digits(Math.min((i + 1) * s.bin_s, s.seconds))} s\np95 ${ms(s.p95[i])}, p50 ${ms(s.p50[i])}\n${rate(s.rate[i])}, ${plural(s.errors[i], "error")}`;
      }));
    });
    return out;
  };
  const rows = shown.flatMap((p) => p.series.rate.map((_, i) => ({ p, i })));
  return el("figure", { class: "card series" }, el("figcaption", {}, el("h3", {}, chart.endpoint),
    el("p", { class: "small dim" }, "p95 solid, p50 dashed, above; requests per second below")),
  responsive(draw), asTable([
    { title: "", text: (r) => whenName(r.p.when) }, { title: "from", right: true, text: (r) => `${digits(r.i * r.p.series.bin_s)} s` },
    { title: "p50", right: true, text: (r) => ms(r.p.series.p50[r.i]) }, { title: "p95", right: true, text: (r) => ms(r.p.series.p95[r.i]) },
    { title: "rate", right: true, text: (r) => rate(r.p.series.rate[r.i]) }, { title: "errors", right: true, text: (r) => count(r.p.series.errors[r.i]) },
  ], rows, `${chart.endpoint} over time`));
}
