const native = globalThis.__trimtab.metrics;

class Metric {
  constructor(kind, name, isTime) {
    this.name = native.register(kind, name === undefined ? '' : String(name), Boolean(isTime));
  }
  add(value, tags) {
    return native.add(this.name, value, tags);
  }
}

export class Counter extends Metric {
  constructor(name, isTime) { super('counter', name, isTime); }
}
export class Gauge extends Metric {
  constructor(name, isTime) { super('gauge', name, isTime); }
}
export class Rate extends Metric {
  constructor(name, isTime) { super('rate', name, isTime); }
}
export class Trend extends Metric {
  constructor(name, isTime) { super('trend', name, isTime); }
}
export default { Counter, Gauge, Rate, Trend };
