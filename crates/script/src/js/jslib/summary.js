// Offline counterpart of jslib's k6-summary: the program's own text, made from the same data.
const native = globalThis.__trimtab.summary;

export function textSummary(data, options = {}) {
  return native.text(JSON.stringify(data), JSON.stringify(options));
}

export function jUnit(data) {
  return native.junit(JSON.stringify(data));
}

export const humanizeValue = (value) => String(value);
export default { textSummary, jUnit, humanizeValue };
