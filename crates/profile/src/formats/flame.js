// Zoom, search and keys of a flame graph: boxes keep their place in data, zooming maps it to the width.
(function () {
  var boxes = [].slice.call(document.querySelectorAll('#flame > g')).map(function (g) {
    var rect = g.querySelector('rect');
    return {
      g: g, rect: rect, text: g.querySelector('text'), name: g.querySelector('title').textContent,
      x: +rect.getAttribute('x'), w: +rect.getAttribute('width'), y: +rect.getAttribute('y')
    };
  });
  if (!boxes.length) return;
  var says = document.getElementById('says'), whole = 1200, rest = says.textContent, slack = 0.02;
  var root = boxes[0], zoomed = root, at = null, query = '';
  function holds(outer, inner) {
    return outer.x <= inner.x + slack && outer.x + outer.w >= inner.x + inner.w - slack;
  }
  function matches(b) { return query !== '' && plain(b).toLowerCase().indexOf(query.toLowerCase()) >= 0; }
  function plain(b) { return b.name.replace(/: [^:]*$/, ''); }
  function paint() {
    boxes.forEach(function (b) {
      var above = b.y < zoomed.y, shown = above ? holds(b, zoomed) : holds(zoomed, b);
      b.g.style.display = shown ? '' : 'none';
      if (!shown) return;
      var dim = above || (query !== '' && !matches(b));
      b.g.setAttribute('class', [matches(b) && 'hit', dim && 'dim', b === at && 'at'].filter(Boolean).join(' '));
      var x = above ? 0 : (b.x - zoomed.x) * whole / zoomed.w, w = above ? whole : b.w * whole / zoomed.w;
      b.rect.setAttribute('x', x);
      b.rect.setAttribute('width', w);
      label(b, x, w);
    });
    says.textContent = at ? at.name : query ? found() : rest;
  }
  function zoom(to) { zoomed = to; paint(); }
  function label(b, x, w) {
    var fits = Math.floor((w - 4) / 6.6);
    if (!b.text && fits >= 3) {
      b.text = document.createElementNS('http://www.w3.org/2000/svg', 'text');
      b.text.setAttribute('y', b.y + 12);
      b.g.appendChild(b.text);
    }
    if (b.text) {
      b.text.setAttribute('x', x + 2);
      b.text.textContent = fits >= 3 ? plain(b).slice(0, fits) : '';
    }
  }
  // Time of boxes that match, without those that lie below another one.
  function found() {
    var hits = boxes.filter(matches).sort(function (a, b) { return a.y - b.y || a.x - b.x; }), counted = [];
    var width = 0;
    hits.forEach(function (b) {
      if (counted.length < 2000 && counted.some(function (c) { return c.y < b.y && holds(c, b); })) return;
      counted.push(b);
      width += b.w;
    });
    return '"' + query + '": ' + (100 * width / root.w).toFixed(1) + ' % of the time; Esc: back';
  }
  function search() {
    var what = window.prompt('search', query);
    if (what === null) return;
    query = what;
    at = null;
    paint();
  }
  function children(b) {
    var next = boxes.filter(function (c) { return c.y > b.y && holds(b, c); });
    var y = Math.min.apply(null, next.map(function (c) { return c.y; }));
    return next.filter(function (c) { return c.y === y; });
  }
  function parent(b) {
    return boxes.filter(function (c) { return c.y < b.y && holds(c, b); }).sort(function (a, c) { return c.y - a.y; })[0];
  }
  function beside(b, step) {
    var of = parent(b), row = of ? children(of).sort(function (a, c) { return a.x - c.x; }) : [];
    return row[row.indexOf(b) + step];
  }
  function widest(b) { return children(b).sort(function (a, c) { return c.w - a.w; })[0]; }
  var moves = {
    ArrowDown: widest, ArrowUp: function (b) { return b === zoomed ? b : parent(b); },
    ArrowLeft: function (b) { return b === zoomed ? b : beside(b, -1); },
    ArrowRight: function (b) { return b === zoomed ? b : beside(b, 1); }
  };
  boxes.forEach(function (b) {
    b.g.addEventListener('click', function () { at = null; zoom(b); });
    b.g.addEventListener('mouseover', function () { says.textContent = b.name; });
    b.g.addEventListener('mouseout', function () { says.textContent = at ? at.name : query ? found() : rest; });
  });
  window.addEventListener('keydown', function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      at = at ? moves[event.key](at) || at : zoomed;
      paint();
    } else if (event.key === 'Enter' && at) {
      zoom(at);
    } else if (event.key === 'Escape') {
      if (at) at = null; else if (query) query = ''; else zoomed = zoomed === root ? root : parent(zoomed);
      paint();
    } else if (event.key === '/') {
      search();
    } else {
      return;
    }
    event.preventDefault();
  });
})();
