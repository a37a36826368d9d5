// The flame graph: widths are time, colours are what the threads did; of all threads, or of the requests of one endpoint.
const FLAME_STATES = [["on CPU", "f-cpu"], ["queued for a CPU", "f-queued"], ["blocked", "f-blocked"], ["waiting for the GIL", "f-gil"]];
const FLAME_ROW = 19;
const FLAME_MIN = 0.6;

// The tree of one measurement: each box with its time by state, milliseconds of one request or of each second.
function flameTree(f, endpoint, states) {
  const at = f.operations.indexOf(endpoint);
  const per = at >= 0 ? Math.max(f.requests[at], 1) : f.wall_ms / 1e3;
  const position = at >= 0 ? at : endpoint === "*" ? f.operations.length : -1;
  const share = (split) => (position < 0 ? 1 : (f.splits[split] || [])[position] || 0);
  const nodes = f.parents.map((parent, n) => {
    const v = f.own[n].map((ms, s) => (states[s] ? (ms * share(f.split[n][s])) / per : 0));
    const [name, where, kind] = n ? f.frames[f.frame[n]] : ["all", "", 4];
    return { name, where, kind, v, own: v.reduce((a, b) => a + b), children: new Map() };
  });
  for (let n = nodes.length - 1; n > 0; n--) nodes[f.parents[n]].v.forEach((x, s, all) => { all[s] = x + nodes[n].v[s]; });
  for (let n = 1; n < nodes.length; n++) {
    const key = `${nodes[n].kind} ${nodes[n].name}`, siblings = nodes[f.parents[n]].children, known = siblings.get(key);
    if (known) { joinFlame(known, nodes[n]); nodes[n] = known; } else siblings.set(key, nodes[n]);
  }
  return nodes[0];
}
function joinFlame(to, from) {
  from.v.forEach((x, s) => { to.v[s] += x; });
  to.own += from.own;
  // Children are hung in later: both are the same box from now on.
  from.children = to.children;
}
const flameSum = (n) => (n ? n.v.reduce((a, b) => a + b) : 0);

// Both measurements as one: as wide as the larger of both.
function flameBoth(before, after) {
  const first = after || before;
  const out = { name: first.name, where: first.where, kind: first.kind, was: flameSum(before), is: flameSum(after), v: first.v, own: first.own, children: new Map() };
  const keys = new Set([...(before ? before.children.keys() : []), ...(after ? after.children.keys() : [])]);
  let inner = 0;
  for (const key of keys) {
    const child = flameBoth(before && before.children.get(key), after && after.children.get(key));
    out.children.set(key, child);
    inner += child.width;
  }
  out.width = Math.max(out.was, out.is, inner);
  return out;
}

function flameGraph(all) {
  const whens = all.map((f) => f.when);
  const state = { when: whens[whens.length - 1], endpoint: "", states: [true, true, false, true], upright: false, query: "", path: [], focus: [] };
  const size = (n) => (state.when === "difference" ? n.width : flameSum(n));
  const unit = () => (state.endpoint && state.endpoint !== "*" ? "a request" : "in each second");
  const picture = el("div", { class: "flame-box", tabindex: "0", role: "group", "aria-roledescription": "flame graph", "aria-label": "Flame graph. Arrow keys move, Enter zooms, Escape goes back, slash searches." });
  const says = el("p", { class: "flame-says small", "aria-live": "polite" });
  const crumbs = el("div", { class: "flame-crumbs small" });
  let tree, boxes = [];

  const tell = (n) => {
    const whole = size(tree) || 1, place = n.where ? ` · ${n.where}` : "";
    const parts = n.v.map((x, s) => (x > 0 ? `${FLAME_STATES[s][0]} ${ms(x)}` : null)).filter(Boolean).join(", ");
    return state.when === "difference" ? `${n.name}${place}: ${ms(n.was)} before, ${ms(n.is)} after ${unit()}`
      : `${n.name}${place}: ${ms(size(n))} ${unit()}, ${percent(size(n) / whole)} (${parts || "nothing"}); ${ms(n.own)} its own`;
  };
  const find = (path) => path.reduce((n, key) => n && n.children.get(key), tree);
  const ordered = (n) => [...n.children].sort((a, b) => size(b[1]) - size(a[1]));
  const hit = (n) => state.query !== "" && `${n.name} ${n.where}`.toLowerCase().includes(state.query.toLowerCase());

  function build() {
    const of = (when) => { const f = all.find((x) => x.when === when); return f && flameTree(f, state.endpoint, state.states); };
    tree = state.when === "difference" ? flameBoth(of("before"), of("after")) : of(state.when);
    if (!find(state.path)) state.path = [];
    if (!find(state.focus)) state.focus = [];
  }
  function layout(width) {
    boxes = [];
    const root = find(state.path), whole = size(root);
    const queue = [[root, state.path, 0, width, 0]];
    for (let at = 0; at < queue.length; at++) {
      const [n, path, x, w, depth] = queue[at];
      boxes.push({ n, path, x, w, depth });
      let left = x;
      for (const [key, child] of ordered(n)) {
        const cw = whole > 0 ? (size(child) / whole) * width : 0;
        if (cw >= FLAME_MIN) queue.push([child, [...path, key], left, cw, depth + 1]);
        left += cw;
      }
    }
    return Math.max(...boxes.map((b) => b.depth)) + 1;
  }
  function colours(b, y) {
    if (state.when === "difference") {
      const change = b.n.is - b.n.was, strength = Math.min(1, Math.abs(change) / (Math.max(b.n.is, b.n.was) || 1));
      const tone = strength < 0.05 ? "f-same" : change > 0 ? "f-more" : "f-less";
      return [svg("rect", { class: "f-same", x: b.x, y, width: b.w, height: FLAME_ROW - 1 }), svg("rect", { class: tone, x: b.x, y, width: b.w, height: FLAME_ROW - 1, "fill-opacity": Math.max(0.25, strength) })];
    }
    let x = b.x;
    const whole = size(b.n) || 1;
    return b.n.v.map((v, s) => {
      const w = (v / whole) * b.w, from = x;
      x += w;
      return w > 0.2 && svg("rect", { class: `${FLAME_STATES[s][1]} k${b.n.kind}`, x: from.toFixed(2), y, width: w.toFixed(2), height: FLAME_ROW - 1 });
    });
  }
  function draw(width) {
    const rows = layout(width), height = rows * FLAME_ROW;
    const focused = state.focus.join("\u0001");
    return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, boxes.map((b, at) => {
      const y = state.upright ? height - (b.depth + 1) * FLAME_ROW : b.depth * FLAME_ROW;
      const fits = Math.floor((b.w - 8) / 6.3), name = b.n.name.length > fits ? `${b.n.name.slice(0, Math.max(0, fits - 1))}…` : b.n.name;
      const g = svg("g", { class: [hit(b.n) && "f-hit", state.query && !hit(b.n) && "f-dim", b.path.join("\u0001") === focused && "f-focus"].filter(Boolean).join(" ") || null, "data-box": at }, colours(b, y),
        svg("rect", { class: "f-frame", x: b.x.toFixed(2), y, width: b.w.toFixed(2), height: FLAME_ROW - 1 }),
        fits >= 3 && svg("text", { x: (b.x + 4).toFixed(2), y: y + 13 }, name));
      return g;
    }));
  }
  const holder = responsive(draw);
  const paint = () => {
    const width = Math.floor(holder.clientWidth);
    if (width > 0) holder.replaceChildren(draw(width));
    const steps = state.path.map((_, n) => state.path.slice(0, n + 1));
    crumbs.replaceChildren(...(steps.length ? [[], ...steps] : []).map((path) => el("button", { type: "button", class: "tool", onclick: () => zoom(path) }, find(path).name)));
    const matched = state.query ? matches() : null;
    says.textContent = matched ? `“${state.query}”: ${percent(matched)} of the time` : tell(find(state.focus.length ? state.focus : state.path));
  };
  // Time below boxes that match, counted once.
  function matches() {
    let found = 0;
    const look = [tree];
    while (look.length) { const n = look.pop(); if (hit(n)) found += size(n); else look.push(...n.children.values()); }
    return found / (size(tree) || 1);
  }
  const again = () => { build(); update(); paint(); };
  function zoom(path) { state.path = path; state.focus = path; paint(); }
  const boxAt = (e) => { const g = e.target.closest && e.target.closest("g[data-box]"); return g && boxes[Number(g.getAttribute("data-box"))]; };
  holder.addEventListener("click", (e) => { const b = boxAt(e); if (b) zoom(b.path.length === state.path.length && b.path.length ? b.path.slice(0, -1) : b.path); picture.focus({ preventScroll: true }); });
  holder.addEventListener("pointermove", (e) => { const b = boxAt(e); if (b && e.pointerType !== "touch") showTip(tell(b.n), e.clientX, e.clientY); else hideTip(); });
  holder.addEventListener("pointerleave", hideTip);
  picture.append(holder);
  picture.addEventListener("keydown", (e) => {
    const parent = find(state.focus.slice(0, -1)), siblings = state.focus.length ? ordered(parent).map((c) => c[0]) : [];
    const place = siblings.indexOf(state.focus[state.focus.length - 1]), deeper = ordered(find(state.focus))[0];
    const down = () => deeper && [...state.focus, deeper[0]], up = () => state.focus.length > state.path.length && state.focus.slice(0, -1);
    const moves = { ArrowDown: state.upright ? up : down, ArrowUp: state.upright ? down : up, ArrowRight: () => siblings[place + 1] && [...state.focus.slice(0, -1), siblings[place + 1]], ArrowLeft: () => place > 0 && [...state.focus.slice(0, -1), siblings[place - 1]] };
    if (moves[e.key]) { const to = moves[e.key](); if (to) { state.focus = to; paint(); } e.preventDefault(); }
    else if (e.key === "Enter") zoom(state.focus);
    else if (e.key === "Escape") { if (state.query) { search.value = state.query = ""; paint(); } else zoom(state.path.slice(0, -1)); }
    else if (e.key === "/") { search.focus(); e.preventDefault(); }
  });

  const search = el("input", { type: "search", class: "flame-search", placeholder: "search functions", "aria-label": "Search functions", oninput: () => { state.query = search.value.trim(); paint(); } });
  const names = [...new Set(all.flatMap((f) => f.operations))];
  const select = el("select", { "aria-label": "Whose time", onchange: () => { state.endpoint = select.value; state.path = state.focus = []; again(); } },
    el("option", { value: "" }, "all threads"), names.map((n) => el("option", { value: n }, n)), names.length > 0 && el("option", { value: "*" }, "no request (background)"));
  const toggles = FLAME_STATES.map(([name, tone], s) => el("button", { type: "button", onclick: () => { state.states[s] = !state.states[s]; again(); } }, el("i", { class: tone, "aria-hidden": "true" }), name));
  const modes = [...whens, ...(whens.length > 1 ? ["difference"] : [])];
  const modeButtons = modes.map((m) => el("button", { type: "button", onclick: () => { state.when = m; again(); } }, m === "difference" ? "difference" : whenName(m)));
  const upright = el("button", { type: "button", class: "tool", onclick: () => { state.upright = !state.upright; upright.textContent = state.upright ? "Icicle" : "Flame"; paint(); } }, "Flame");
  const update = () => {
    toggles.forEach((b, s) => fill(b, { "aria-pressed": String(state.states[s]) }, []));
    modeButtons.forEach((b, n) => fill(b, { "aria-pressed": String(state.when === modes[n]) }, []));
  };
  build(); update();
  const last = all[all.length - 1];
  const note = [last.title, `${digits(last.wall_ms / 1e3)} s`, known(last.unscaled_error) && `samples ${percent(last.unscaled_error)} off the kernel's count before they were scaled to it`, `the profiler took ${percent(last.own_share)} of a core`, last.operations.length > 0 && `dividing by endpoint leaves ${percent(last.residual)} unexplained`].filter(Boolean).join(" · ");
  redraws.push(paint);
  return el("div", { class: "card", id: "flame" },
    el("div", { class: "controls" }, select, modes.length > 1 && el("div", { class: "seg", role: "group", "aria-label": "Measurement" }, modeButtons), el("div", { class: "seg flame-states", role: "group", "aria-label": "States" }, toggles), search, upright),
    crumbs, picture, says, el("p", { class: "small dim" }, note));
}
