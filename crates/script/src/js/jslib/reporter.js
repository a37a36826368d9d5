// Offline counterpart of benc-uk's k6-reporter: the summary as one HTML page that needs no network.
const escape = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]);

function shown(value, contains) {
  if (typeof value !== 'number') return '';
  const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
  return contains === 'time' ? `${text} ms` : contains === 'data' ? `${(value / 1000).toFixed(1)} kB` : text;
}

function row(name, metric) {
  const names = Object.keys(metric.values);
  const values = names.map((key) => `<td><small>${escape(key)}</small> ${escape(shown(metric.values[key], metric.contains))}</td>`);
  const thresholds = Object.entries(metric.thresholds ?? {}).map(
    ([text, { ok }]) => `<span class="${ok ? 'ok' : 'bad'}">${ok ? '✓' : '✗'} ${escape(text)}</span>`,
  );
  return `<tr><th>${escape(name)}</th>${values.join('')}<td>${thresholds.join('<br>')}</td></tr>`;
}

function group(of) {
  const checks = of.checks.map(
    ({ name, passes, fails }) =>
      `<tr><th>${escape(name)}</th><td class="${fails ? 'bad' : 'ok'}">${fails ? '✗' : '✓'}</td><td>${passes} of ${passes + fails}</td></tr>`,
  );
  const heading = of.name ? `<h3>${escape(of.name)}</h3>` : '';
  return `${heading}<table>${checks.join('')}</table>${of.groups.map(group).join('')}`;
}

export function htmlReport(data, options = {}) {
  const title = escape(options.title ?? `k6 report: ${new Date().toISOString().slice(0, 16).replace('T', ' ')}`);
  const metrics = Object.entries(data.metrics).sort(([a], [b]) => (a < b ? -1 : 1));
  const failed = metrics.flatMap(([, metric]) => Object.values(metric.thresholds ?? {})).filter(({ ok }) => !ok).length;
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{border-bottom:1px solid #8884;padding:.3rem .7rem;text-align:left;white-space:nowrap}
small{opacity:.7}.ok{color:#198754}.bad{color:#d63333;font-weight:600}</style></head><body><h1>${title}</h1>
<p class="${failed ? 'bad' : 'ok'}">${failed ? `${failed} thresholds failed` : 'no threshold failed'}</p>
<h2>Metrics</h2><table>${metrics.map(([name, metric]) => row(name, metric)).join('')}</table>
<h2>Checks</h2>${group(data.root_group)}</body></html>
`;
}
