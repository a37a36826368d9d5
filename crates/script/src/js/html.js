const native = globalThis.__trimtab.html;

const isSelection = (value) => value instanceof Selection;
const ordered = (ids) => [...new Set(ids)].sort((a, b) => a - b);
const camel = (name) => name.replace(/-+([a-z])/g, (_, letter) => letter.toUpperCase());
const dashed = (name) => name.replace(/[A-Z]/g, (letter) => '-' + letter.toLowerCase());
const SKIPPED = ['submit', 'button', 'reset', 'image', 'file'];

/** A `data-` attribute as jQuery reads it. */
function datum(text) {
  if (text === 'true' || text === 'false') return text === 'true';
  if (text === 'null') return null;
  if (text !== '' && String(Number(text)) === text) return Number(text);
  if (/^[{[]/.test(text)) {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

export class Selection {
  #page; #ids; #url; #before;

  constructor(page, ids, url, before) {
    this.#page = page;
    this.#ids = ids;
    this.#url = url;
    this.#before = before;
  }

  #made(ids) { return new Selection(this.#page, ids, this.#url, this); }
  #of(ids, filter) { return this.#made(filter === undefined ? ids : this.#chosen(ids, filter)); }
  #element(id) { return new Element(this.#page, id, this.#url); }
  #siblings(id) {
    const up = native.parent(this.#page, id);
    return up === undefined ? [] : native.elements(this.#page, up);
  }
  #after(id) { return this.#siblings(id).filter((one) => one > id); }
  #earlier(id) { return this.#siblings(id).filter((one) => one < id).reverse(); }
  #above(id) {
    const all = [];
    for (let up = native.parent(this.#page, id); up; up = native.parent(this.#page, up)) all.push(up);
    return all;
  }

  /** Those of `ids` that a selector, a function, an element or a selection names. */
  #chosen(ids, filter) {
    if (typeof filter === 'function') {
      return ids.filter((id, index) => filter.call(this.#element(id), index, this.#element(id)));
    }
    if (isSelection(filter)) return ids.filter((id) => filter.#ids.includes(id));
    if (filter instanceof Element) return ids.filter((id) => filter.isSameNode(this.#element(id)));
    return native.filter(this.#page, ids, String(filter));
  }
  /** `steps` of each, up to what `until` names. */
  #walk(steps, until, filter) {
    const found = this.#ids.flatMap((id) => {
      const way = steps(id);
      if (until === undefined || until === null) return way;
      const ends = this.#chosen(way, until);
      const end = way.findIndex((one) => ends.includes(one));
      return end < 0 ? way : way.slice(0, end);
    });
    return this.#of(ordered(found), filter);
  }

  /** These and what else is named, in the order of the page. */
  add(what) {
    let more;
    if (what instanceof Selection) more = what.#ids;
    else if (what instanceof Element) more = native.find(this.#page, [0], '*').filter((id) => what.isSameNode(this.#element(id)));
    else more = native.find(this.#page, [0], String(what));
    return this.#made(ordered([...this.#ids, ...more]));
  }
  attr(name, otherwise) {
    const value = this.#ids.length ? native.attribute(this.#page, this.#ids[0], String(name)) : undefined;
    return value === undefined ? otherwise : value;
  }
  children(filter) { return this.#of(this.#ids.flatMap((id) => native.elements(this.#page, id)), filter); }
  closest(filter) {
    const found = this.#ids.flatMap((id) => this.#chosen([id, ...this.#above(id)], filter).slice(0, 1));
    return this.#made(ordered(found));
  }
  contents() { return this.#made(this.#ids.flatMap((id) => native.nodes(this.#page, id))); }
  data(name) {
    if (!this.#ids.length) return undefined;
    if (name !== undefined) {
      const text = this.attr('data-' + dashed(String(name)));
      return text === undefined ? undefined : datum(text);
    }
    const all = native.attributes(this.#page, this.#ids[0]).filter(([key]) => key.startsWith('data-'));
    return Object.fromEntries(all.map(([key, value]) => [camel(key.slice(5)), datum(value)]));
  }
  each(run) {
    this.#ids.forEach((id, index) => run(index, this.#element(id)));
    return this;
  }
  end() { return this.#before ?? this.#made([]); }
  eq(index) { return this.#made(this.#ids.slice(index, index === -1 ? undefined : index + 1)); }
  filter(filter) { return this.#of(this.#ids, filter); }
  find(what) {
    if (typeof what === 'string') return this.#made(native.find(this.#page, this.#ids, what));
    return this.#of(native.find(this.#page, this.#ids, '*'), what);
  }
  first() { return this.#made(this.#ids.slice(0, 1)); }
  get(index) {
    if (index === undefined) return this.#ids.map((id) => this.#element(id));
    const id = this.#ids.at(index);
    return id === undefined ? undefined : this.#element(id);
  }
  has(what) {
    return this.#made(this.#ids.filter((id) => this.#made([id]).find(what).size() > 0));
  }
  html() { return this.#ids.length ? native.inner(this.#page, this.#ids[0]) : ''; }
  /** The place of the first among its siblings, or of an element or a selection's first among these. */
  index(what) {
    if (what === undefined) {
      return this.#ids.length ? this.#siblings(this.#ids[0]).indexOf(this.#ids[0]) : -1;
    }
    if (typeof what === 'string') return native.find(this.#page, [0], what).indexOf(this.#ids[0]);
    const first = what instanceof Selection ? what.get(0) : what;
    return this.#ids.findIndex((id) => this.#element(id).isSameNode(first));
  }
  is(filter) { return this.#chosen(this.#ids, filter).length > 0; }
  last() { return this.#made(this.#ids.slice(-1)); }
  map(run) { return this.#ids.map((id, index) => run(index, this.#made([id]))); }
  next(filter) { return this.#of(this.#ids.flatMap((id) => this.#after(id).slice(0, 1)), filter); }
  nextAll(filter) { return this.#walk((id) => this.#after(id), undefined, filter); }
  nextUntil(until, filter) { return this.#walk((id) => this.#after(id), until, filter); }
  not(filter) {
    const without = this.#chosen(this.#ids, filter);
    return this.#made(this.#ids.filter((id) => !without.includes(id)));
  }
  parent(filter) { return this.#walk((id) => this.#above(id).slice(0, 1), undefined, filter); }
  parents(filter) { return this.#walk((id) => this.#above(id), undefined, filter); }
  parentsUntil(until, filter) { return this.#walk((id) => this.#above(id), until, filter); }
  prev(filter) { return this.#of(this.#ids.flatMap((id) => this.#earlier(id).slice(0, 1)), filter); }
  prevAll(filter) { return this.#walk((id) => this.#earlier(id), undefined, filter); }
  prevUntil(until, filter) { return this.#walk((id) => this.#earlier(id), until, filter); }
  siblings(filter) {
    return this.#walk((id) => this.#siblings(id).filter((one) => one !== id), undefined, filter);
  }
  size() { return this.#ids.length; }
  slice(from, to) { return this.#made(this.#ids.slice(from, to)); }
  text() { return this.#ids.map((id) => native.text(this.#page, id)).join(''); }
  toArray() { return this.#ids.map((id) => this.#made([id])); }

  val() {
    if (!this.#ids.length) return undefined;
    const own = this.attr('value');
    switch (native.name(this.#page, this.#ids[0])) {
      case 'input': return own ?? (/^(checkbox|radio)$/i.test(this.attr('type')) ? 'on' : '');
      case 'button': case 'option': return own ?? this.first().html();
      case 'textarea': return this.first().text();
      case 'select': {
        const chosen = this.first().find('option[selected]').toArray().map((option) => option.val());
        return this.attr('multiple') === undefined ? chosen[0] ?? '' : chosen;
      }
      default: return undefined;
    }
  }
  serializeArray() {
    const wanted = 'input, select, textarea, keygen';
    const fields = this.is('form') ? this.find(wanted) : this.filter(wanted);
    return fields.toArray().filter((field) => {
      const kind = (field.attr('type') ?? '').toLowerCase();
      if (!field.attr('name') || field.attr('disabled') !== undefined || SKIPPED.includes(kind)) return false;
      return !['checkbox', 'radio'].includes(kind) || field.attr('checked') !== undefined;
    }).map((field) => ({ name: field.attr('name'), value: field.val() }));
  }
  serializeObject() {
    return Object.fromEntries(this.serializeArray().map(({ name, value }) => [name, value]));
  }
  serialize() {
    return encode(this.serializeObject());
  }
}

/** A form's fields as the part of a URL after `?`, in the order of their names. */
export function encode(fields) {
  const part = (text) => encodeURIComponent(String(text)).replace(/%20/g, '+').replace(/[!'()*]/g, (c) =>
    '%' + c.charCodeAt(0).toString(16).toUpperCase());
  return Object.keys(fields).sort().flatMap((name) =>
    [fields[name]].flat().map((value) => `${part(name)}=${part(value)}`)).join('&');
}

export class Element {
  #page; #id; #url;

  constructor(page, id, url) {
    this.#page = page;
    this.#id = id;
    this.#url = url;
  }

  #made(id) { return id === undefined ? undefined : new Element(this.#page, id, this.#url); }
  #beside(kind, step) {
    const up = native.parent(this.#page, this.#id);
    if (up === undefined) return undefined;
    const all = native[kind](this.#page, up);
    const next = step > 0 ? all.find((one) => one > this.#id) : all.findLast((one) => one < this.#id);
    return this.#made(next);
  }
  #link() {
    const href = native.resolve(this.#url ?? '', this.getAttribute('href') ?? '');
    return /^(?:([a-z][a-z0-9+.-]*:)\/\/(?:[^/?#@]*@)?([^/?#:]*)(?::(\d+))?)?([^?#]*)(\?[^#]*)?/i.exec(href) ?? [];
  }

  selection() { return new Selection(this.#page, [this.#id], this.#url); }
  nodeName() { return native.name(this.#page, this.#id); }
  nodeType() { return native.type(this.#page, this.#id); }
  nodeValue() { return native.value(this.#page, this.#id); }
  innerHTML() { return native.inner(this.#page, this.#id); }
  textContent() { return native.text(this.#page, this.#id); }
  getAttribute(name) { return native.attribute(this.#page, this.#id, String(name)); }
  getAttributeNode(name) {
    const value = this.getAttribute(name);
    return value === undefined ? undefined : { name, value, ownerElement: () => this };
  }
  hasAttribute(name) { return this.getAttribute(name) !== undefined; }
  attributes() {
    const all = native.attributes(this.#page, this.#id);
    return Object.fromEntries(all.map(([name, value]) => [name, { name, value }]));
  }
  hasAttributes() { return native.attributes(this.#page, this.#id).length > 0; }
  id() { return this.getAttribute('id'); }
  className() { return this.getAttribute('class'); }
  classList() { return (this.getAttribute('class') ?? '').split(/\s+/).filter(Boolean); }
  lang() { return this.getAttribute('lang'); }
  name() { return this.getAttribute('name'); }
  value() { return this.selection().val(); }
  type() { return this.getAttribute('type') ?? (this.nodeName() === 'input' ? 'text' : undefined); }
  action() { return this.getAttribute('action'); }
  method() { return (this.getAttribute('method') ?? 'get').toLowerCase(); }
  src() { return this.getAttribute('src'); }
  href() {
    const href = this.getAttribute('href');
    return href === undefined || !this.#url ? href : native.resolve(this.#url, href);
  }
  text() { return this.textContent(); }
  rel() { return this.getAttribute('rel'); }
  disabled() { return this.hasAttribute('disabled'); }
  checked() { return this.hasAttribute('checked'); }
  selected() { return this.hasAttribute('selected'); }
  length() { return this.selection().find(this.nodeName() === 'select' ? 'option' : 'input, select, textarea, button').size(); }
  protocol() { return this.#link()[1] ?? ''; }
  hostname() { return this.#link()[2] ?? ''; }
  port() { return this.#link()[3] ?? ''; }
  host() { return this.hostname() + (this.port() && ':' + this.port()); }
  origin() { return `${this.protocol()}//${this.host()}`; }
  pathname() { return this.#link()[4] ?? ''; }
  search() { return this.#link()[5] ?? ''; }
  hash() { return /#.*$/.exec(this.getAttribute('href') ?? '')?.[0] ?? ''; }
  childNodes() { return native.nodes(this.#page, this.#id).map((id) => this.#made(id)); }
  children() { return native.elements(this.#page, this.#id).map((id) => this.#made(id)); }
  childElementCount() { return native.elements(this.#page, this.#id).length; }
  hasChildNodes() { return native.nodes(this.#page, this.#id).length > 0; }
  firstChild() { return this.#made(native.nodes(this.#page, this.#id)[0]); }
  lastChild() { return this.#made(native.nodes(this.#page, this.#id).at(-1)); }
  firstElementChild() { return this.#made(native.elements(this.#page, this.#id)[0]); }
  lastElementChild() { return this.#made(native.elements(this.#page, this.#id).at(-1)); }
  nextSibling() { return this.#beside('nodes', 1); }
  previousSibling() { return this.#beside('nodes', -1); }
  nextElementSibling() { return this.#beside('elements', 1); }
  previousElementSibling() { return this.#beside('elements', -1); }
  parentNode() { return this.#made(native.parent(this.#page, this.#id)); }
  parentElement() {
    const up = this.parentNode();
    return up && up.nodeType() === 1 ? up : undefined;
  }
  ownerDocument() { return this.#made(0); }
  contains(other) {
    for (let up = other; up; up = up.parentNode()) if (this.isSameNode(up)) return true;
    return false;
  }
  matches(selector) { return this.selection().is(selector); }
  querySelector(selector) { return this.selection().find(selector).get(0); }
  querySelectorAll(selector) { return this.selection().find(selector).get(); }
  isSameNode(other) { return other instanceof Element && other.#page === this.#page && other.#id === this.#id; }
  isEqualNode(other) { return other instanceof Element && native.outer(other.#page, other.#id) === native.outer(this.#page, this.#id); }
  toString() { return '[object html.Node]'; }
}

/** `url`: what links of the page are relative to. */
export function parseHTML(text, url) {
  return new Selection(native.parse(text === null || text === undefined ? '' : String(text)), [0], url);
}
export default { parseHTML };
