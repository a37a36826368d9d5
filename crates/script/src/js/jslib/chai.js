// Offline counterpart of jslib's k6chaijs: describe, and expect with chai's words. Each assertion is a check; the first
// that fails ends its describe.
import { check, group } from 'k6';

class AssertionError extends Error {
  constructor(message) {
    super(message);
    this.name = 'AssertionError';
  }
}

const config = { aggregateChecks: true, logFailures: false, truncateMsgThreshold: 300, truncateVarThreshold: 100 };

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length)}...` : text;
}

function inspect(value) {
  let text;
  if (typeof value === 'string') text = `'${value}'`;
  else if (typeof value === 'function') text = `[Function ${value.name}]`;
  else if (value instanceof RegExp || value instanceof Error || typeof value !== 'object') text = String(value);
  else {
    try {
      text = JSON.stringify(value);
    } catch (_circular) {
      text = String(value);
    }
  }
  return cut(String(text), config.truncateVarThreshold);
}

function typeOf(value) {
  if (value === null) return 'null';
  return Object.prototype.toString.call(value).slice(8, -1).toLowerCase();
}

function same(a, b, seen = []) {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (typeOf(a) !== typeOf(b)) return false;
  if (seen.some(([x, y]) => x === a && y === b)) return true;
  const known = [...seen, [a, b]];
  if (a instanceof Date) return a.getTime() === b.getTime();
  if (a instanceof RegExp) return String(a) === String(b);
  if (a instanceof Map) return same([...a], [...b], known);
  if (a instanceof Set) return same([...a], [...b], known);
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key], known))
  );
}

function isEmpty(value) {
  if (typeof value === 'string' || Array.isArray(value)) return value.length === 0;
  if (value instanceof Map || value instanceof Set) return value.size === 0;
  return Object.keys(Object(value)).length === 0;
}

function lengthOf(value) {
  return value instanceof Map || value instanceof Set ? value.size : value?.length;
}

function at(value, path) {
  const parts = path.replace(/\[(\w+)\]/g, '.$1').split('.').filter(Boolean);
  return parts.reduce((found, part) => (found === undefined || found === null ? undefined : found[part]), value);
}

class Assertion {
  constructor(value, label, flags = {}) {
    this.value = value;
    this.label = label;
    this.flags = flags;
  }

  with(flag) {
    return new Assertion(this.value, this.label, { ...this.flags, ...flag });
  }

  on(value, label) {
    return new Assertion(value, label);
  }

  // Told as a check; `words` follow "expected ... to".
  assert(holds, words, whole) {
    const passed = Boolean(holds) !== Boolean(this.flags.not);
    const subject = this.label ?? inspect(this.value);
    const text = whole ?? `expected ${subject} ${this.flags.not ? 'not to' : 'to'} ${words}`;
    const name = cut(text, config.truncateMsgThreshold);
    check(null, { [name]: () => passed });
    if (!passed) {
      const seen = whole || this.label ? `${name}, got ${inspect(this.value)}` : name;
      if (config.logFailures) console.warn(seen);
      throw new AssertionError(seen);
    }
    return this;
  }

  isEqual(expected) {
    return this.flags.deep ? same(this.value, expected) : this.value === expected;
  }

  holds(expected) {
    const { value } = this;
    const equal = (a, b) => (this.flags.deep ? same(a, b) : a === b);
    if (typeof value === 'string') return value.includes(expected);
    if (Array.isArray(value)) return value.some((one) => equal(one, expected));
    if (value instanceof Set) return [...value].some((one) => equal(one, expected));
    if (value instanceof Map) return [...value.values()].some((one) => equal(one, expected));
    if (typeof expected === 'object' && expected !== null && typeof value === 'object' && value !== null) {
      return Object.keys(expected).every((key) => equal(value[key], expected[key]));
    }
    return false;
  }

  // A comparison of the value, or after `length` of its length.
  measured() {
    return this.flags.length ? lengthOf(this.value) : this.value;
  }

  compare(holds, words, bound) {
    const of = this.flags.length ? 'have a length ' : 'be ';
    return this.assert(holds(this.measured(), bound), `${of}${words} ${inspect(bound)}`);
  }
}

const chains = 'to be been is that which and has have with at of same but does still also'.split(' ');
for (const name of chains.filter((name) => name !== 'with')) {
  Object.defineProperty(Assertion.prototype, name, { get() { return this; } });
}

const flags = { not: 'not', deep: 'deep', nested: 'nested', own: 'own', any: 'any', all: 'all', ordered: 'ordered' };
for (const [name, flag] of Object.entries(flags)) {
  Object.defineProperty(Assertion.prototype, name, { get() { return this.with({ [flag]: true }); } });
}

const facts = {
  ok: [(value) => Boolean(value), 'be truthy'],
  true: [(value) => value === true, 'be true'],
  false: [(value) => value === false, 'be false'],
  null: [(value) => value === null, 'be null'],
  undefined: [(value) => value === undefined, 'be undefined'],
  NaN: [(value) => Number.isNaN(value), 'be NaN'],
  exist: [(value) => value !== null && value !== undefined, 'exist'],
  empty: [isEmpty, 'be empty'],
  finite: [(value) => typeof value === 'number' && Number.isFinite(value), 'be a finite number'],
};
for (const [name, [holds, words]] of Object.entries(facts)) {
  Object.defineProperty(Assertion.prototype, name, { get() { return this.assert(holds(this.value), words); } });
}

const above = (value, bound) => value > bound;
const least = (value, bound) => value >= bound;
const below = (value, bound) => value < bound;
const most = (value, bound) => value <= bound;

const methods = {
  equal(expected) {
    return this.assert(this.isEqual(expected), `${this.flags.deep ? 'deeply ' : ''}equal ${inspect(expected)}`);
  },
  eql(expected) {
    return this.assert(same(this.value, expected), `deeply equal ${inspect(expected)}`);
  },
  above(bound) { return this.compare(above, 'above', bound); },
  least(bound) { return this.compare(least, 'at least', bound); },
  below(bound) { return this.compare(below, 'below', bound); },
  most(bound) { return this.compare(most, 'at most', bound); },
  within(low, high) {
    const value = this.measured();
    return this.assert(value >= low && value <= high, `be within ${inspect(low)}..${inspect(high)}`);
  },
  closeTo(expected, delta) {
    return this.assert(Math.abs(this.value - expected) <= delta, `be close to ${inspect(expected)} +/- ${delta}`);
  },
  instanceof(constructor) {
    return this.assert(this.value instanceof constructor, `be an instance of ${constructor?.name}`);
  },
  property(name, ...expected) {
    const { value } = this;
    const found = this.flags.nested ? at(value, name) : value?.[name];
    const there = this.flags.own ? Object.hasOwn(Object(value), name) : found !== undefined || name in Object(value);
    const fits = expected.length === 0 || (this.flags.deep ? same(found, expected[0]) : found === expected[0]);
    const words = expected.length ? ` of ${inspect(expected[0])}` : '';
    this.assert(there && fits, `have property ${inspect(name)}${words}`);
    return this.flags.not ? this : this.on(found);
  },
  match(pattern) {
    return this.assert(pattern.test(this.value), `match ${pattern}`);
  },
  string(part) {
    return this.assert(typeof this.value === 'string' && this.value.includes(part), `contain ${inspect(part)}`);
  },
  keys(...names) {
    const wanted = names.flat().flatMap((name) => (typeof name === 'object' ? Object.keys(name) : [name]));
    const has = this.value instanceof Map ? [...this.value.keys()] : Object.keys(Object(this.value));
    const here = (name) => has.includes(name);
    const all = wanted.every(here) && (this.flags.contains || has.length === wanted.length);
    return this.assert(this.flags.any ? wanted.some(here) : all, `have keys ${inspect(wanted)}`);
  },
  members(expected) {
    const equal = (a, b) => (this.flags.deep ? same(a, b) : a === b);
    const rest = [...this.value];
    const taken = expected.every((one) => {
      const index = rest.findIndex((other) => equal(other, one));
      if (index >= 0) rest.splice(index, 1);
      return index >= 0;
    });
    return this.assert(taken && (this.flags.contains || rest.length === 0), `have members ${inspect(expected)}`);
  },
  oneOf(list) {
    return this.assert(list.some((one) => (this.flags.deep ? same(one, this.value) : one === this.value)), `be one of ${inspect(list)}`);
  },
  satisfy(test) {
    return this.assert(test(this.value), `satisfy ${inspect(test)}`);
  },
  throw(expected) {
    let thrown;
    try {
      this.value();
    } catch (error) {
      thrown = error;
    }
    const text = String(thrown?.message ?? thrown);
    const fits =
      expected === undefined ||
      (typeof expected === 'string' && text.includes(expected)) ||
      (expected instanceof RegExp && expected.test(text)) ||
      (typeof expected === 'function' && thrown instanceof expected);
    return this.assert(thrown !== undefined && fits, `throw${expected === undefined ? '' : ` ${inspect(expected)}`}`);
  },
  validJsonBody() {
    let valid = true;
    try {
      this.value.json();
    } catch (_error) {
      valid = false;
    }
    return this.assert(valid, '', `${this.label ?? 'response'} ${this.flags.not ? 'has no' : 'has a'} valid json body`);
  },
};

const aliases = {
  equal: ['equals', 'eq'],
  eql: ['eqls'],
  above: ['gt', 'greaterThan'],
  least: ['gte', 'greaterThanOrEqual'],
  below: ['lt', 'lessThan'],
  most: ['lte', 'lessThanOrEqual'],
  within: ['between'],
  closeTo: ['approximately'],
  instanceof: ['instanceOf'],
  match: ['matches'],
  keys: ['key'],
  throw: ['throws', 'Throw'],
  satisfy: ['satisfies'],
};
for (const [name, method] of Object.entries(methods)) {
  for (const alias of [name, ...(aliases[name] ?? [])]) {
    Object.defineProperty(Assertion.prototype, alias, { value: method, writable: true, configurable: true });
  }
}

// Words that are called or lead on: `include(x)` and `include.members(...)`.
function both(names, call, flag) {
  for (const name of names) {
    Object.defineProperty(Assertion.prototype, name, {
      get() {
        const leading = this.with(flag);
        return new Proxy((...args) => call.apply(this, args), {
          get: (_target, property) => {
            const found = leading[property];
            return typeof found === 'function' ? found.bind(leading) : found;
          },
        });
      },
    });
  }
}

both(['a', 'an'], function (type) {
  const name = String(type).toLowerCase();
  return this.assert(typeOf(this.value) === name, `be ${/^[aeiou]/.test(name) ? 'an' : 'a'} ${name}`);
}, {});
both(['include', 'includes', 'contain'], function (expected) {
  return this.assert(this.holds(expected), `include ${inspect(expected)}`);
}, { contains: true });
both(['lengthOf', 'length'], function (expected) {
  return this.assert(lengthOf(this.value) === expected, `have a length of ${inspect(expected)}`);
}, { length: true });

export function expect(value, label) {
  return new Assertion(value, label);
}
expect.fail = (message = 'expect.fail()') => {
  throw new AssertionError(message);
};

export function describe(name, body) {
  let passed = true;
  group(name, () => {
    try {
      body();
    } catch (error) {
      passed = false;
      if (!(error instanceof AssertionError)) {
        check(null, { [cut(`Exception raised "${error?.message ?? error}"`, config.truncateMsgThreshold)]: () => false });
        console.error(`Exception raised in "${name}": ${error}\n${error?.stack ?? ""}`);
      }
    }
  });
  return passed;
}

export const chai = { config, expect, describe, AssertionError, use() {}, Assertion };
export const Assert = AssertionError;
export default chai;
