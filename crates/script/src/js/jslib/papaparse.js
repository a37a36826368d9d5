// The part of papaparse that load tests use: parse and unparse of CSV texts (RFC 4180).
function rows(text, delimiter, quote) {
  const all = [];
  let row = [];
  let field = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== quote) field += c;
      else if (text[i + 1] === quote) { field += quote; i++; } else quoted = false;
    } else if (c === quote && field === '') quoted = true;
    else if (c === delimiter) { row.push(field); field = ''; } else if (c === '\n' || c === '\r') {
      if (c === '\r' && text[i + 1] === '\n') i++;
      row.push(field);
      all.push(row);
      row = [];
      field = '';
    } else field += c;
  }
  row.push(field);
  all.push(row);
  return all;
}

function guess(text) {
  const line = text.split(/\r?\n/, 1)[0];
  return [',', '\t', '|', ';'].reduce((best, one) =>
    (line.split(one).length > line.split(best).length ? one : best), ',');
}

function typed(value) {
  if (value === 'true' || value === 'TRUE') return true;
  if (value === 'false' || value === 'FALSE') return false;
  if (/^\s*-?(\d+\.?|\.\d+|\d+\.\d+)([eE][-+]?\d+)?\s*$/.test(value)) return Number(value);
  return value === '' ? null : value;
}

export function parse(input, config = {}) {
  const text = String(input).replace(/^\uFEFF/, '');
  const delimiter = config.delimiter || guess(text);
  let all = rows(text, delimiter, config.quoteChar || '"');
  if (config.comments) {
    const mark = config.comments === true ? '#' : config.comments;
    all = all.filter((row) => !row[0].startsWith(mark));
  }
  const blank = (row) => row.length === 1 && row[0] === '';
  const greedy = (row) => row.every((field) => field.trim() === '');
  if (config.skipEmptyLines) all = all.filter((row) => !(config.skipEmptyLines === 'greedy' ? greedy(row) : blank(row)));
  const meta = { delimiter, linebreak: text.includes('\r\n') ? '\r\n' : '\n', aborted: false, truncated: false };
  const cast = config.dynamicTyping ? typed : (value) => value;
  if (!config.header) {
    const data = all.map((row) => row.map(cast));
    return { data: config.preview ? data.slice(0, config.preview) : data, errors: [], meta };
  }
  const names = (all.shift() || []).map((name, index) =>
    (config.transformHeader ? config.transformHeader(name, index) : name));
  meta.fields = names;
  const data = all.map((row) => {
    const object = {};
    row.forEach((value, index) => {
      if (index < names.length) object[names[index]] = cast(value);
      else (object.__parsed_extra ||= []).push(value);
    });
    return object;
  });
  return { data: config.preview ? data.slice(0, config.preview) : data, errors: [], meta };
}

export function unparse(data, config = {}) {
  const delimiter = config.delimiter || ',';
  const field = (value) => {
    const text = value === null || value === undefined ? '' : String(value);
    return text.includes(delimiter) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const list = data.map((row) => (Array.isArray(row) ? row : Object.values(row)));
  if (data.length > 0 && !Array.isArray(data[0]) && config.header !== false) list.unshift(Object.keys(data[0]));
  return list.map((row) => row.map(field).join(delimiter)).join(config.newline || '\r\n');
}

export default { parse, unparse };
