const native = globalThis.__trimtab.execution;

function fields(read, names) {
  const object = {};
  for (const name of names) {
    Object.defineProperty(object, name, { get: () => read(name), enumerable: true });
  }
  return object;
}

const tags = new Proxy({}, {
  get: (_, name) => (typeof name === 'string' ? native.tag(name) ?? undefined : undefined),
  set: (_, name, value) => { native.setTag(String(name), value); return true; },
  deleteProperty: (_, name) => { native.deleteTag(String(name)); return true; },
  has: (_, name) => native.tag(String(name)) != null,
  ownKeys: () => Object.keys(native.tags()),
  getOwnPropertyDescriptor: (_, name) => {
    const value = native.tags()[name];
    return value === undefined ? undefined : { value, enumerable: true, configurable: true, writable: true };
  },
});

export const vu = fields(native.vu, ['idInInstance', 'idInTest', 'iterationInInstance', 'iterationInScenario']);
vu.tags = tags;
vu.metrics = { tags, metadata: {} };
export const scenario = fields(native.scenario,
  ['name', 'executor', 'startTime', 'progress', 'iterationInInstance', 'iterationInTest']);
export const instance = fields(native.instance,
  ['iterationsInterrupted', 'iterationsCompleted', 'vusActive', 'vusInitialized', 'currentTestRunDuration']);
export const test = { abort: native.abort, fail: native.fail };
Object.defineProperty(test, 'options', { get: () => native.options(), enumerable: true });
export default { vu, scenario, instance, test };
