// Zoom and search of a flame graph: boxes keep their place in data, zooming maps it to the width.
(function () {
  var boxes = [].slice.call(document.querySelectorAll('#flame > g')).map(function (g) {
    var rect = g.querySelector('rect');
    return {
      g: g, rect: rect, text: g.querySelector('text'), name: g.querySelector('title').textContent,
      x: +rect.getAttribute('x'), w: +rect.getAttribute('width'), y: +rect.getAttribute('y')
    };
  });
  var says = document.getElementById('says'), whole = 1200, rest = says.textContent;
  function zoom(to) {
    boxes.forEach(function (b) {
      var above = b.y < to.y, inside = b.x >= to.x - 0.01 && b.x + b.w <= to.x + to.w + 0.01;
      var holds = b.x <= to.x + 0.01 && b.x + b.w >= to.x + to.w - 0.01;
      var shown = above ? holds : inside;
      b.g.style.display = shown ? '' : 'none';
      if (!shown) return;
      var x = above ? 0 : (b.x - to.x) * whole / to.w, w = above ? whole : b.w * whole / to.w;
      b.g.setAttribute('class', above ? 'dim' : '');
      b.rect.setAttribute('x', x);
      b.rect.setAttribute('width', w);
      label(b, x, w);
    });
  }
  function label(b, x, w) {
    var fits = Math.floor((w - 4) / 6.6), full = b.name.replace(/: [^:]*$/, '');
    if (!b.text && fits >= 3) {
      b.text = document.createElementNS('http://www.w3.org/2000/svg', 'text');
      b.text.setAttribute('y', b.y + 12);
      b.g.appendChild(b.text);
    }
    if (b.text) {
      b.text.setAttribute('x', x + 2);
      b.text.textContent = fits >= 3 ? full.slice(0, fits) : '';
    }
  }
  function search() {
    var what = window.prompt('search');
    if (what === null) return;
    boxes.forEach(function (b) {
      var hit = what !== '' && b.name.toLowerCase().indexOf(what.toLowerCase()) >= 0;
      b.g.setAttribute('class', hit ? 'hit' : '');
    });
  }
  boxes.forEach(function (b) {
    b.g.addEventListener('click', function () { zoom(b); });
    b.g.addEventListener('mouseover', function () { says.textContent = b.name; });
    b.g.addEventListener('mouseout', function () { says.textContent = rest; });
  });
  window.addEventListener('keydown', function (event) {
    if (event.key === 'Escape' && boxes.length) zoom(boxes[0]);
    if (event.key === '/') { event.preventDefault(); search(); }
  });
})();
