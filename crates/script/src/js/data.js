const native = globalThis.__trimtab.data;

const refuse = () => { throw new TypeError('SharedArray is immutable'); };

/** An array that all virtual users share; elements are parsed when they are read. */
export function SharedArray(name, make) {
  const length = native.share(String(name), make);
  return new Proxy([], {
    get(target, key, receiver) {
      if (key === 'length') return length;
      if (typeof key === 'string') {
        const index = Number(key);
        if (Number.isInteger(index)) return index >= 0 && index < length ? native.at(name, index) : undefined;
      }
      return Reflect.get(target, key, receiver);
    },
    has: (target, key) => (typeof key === 'string' && /^\d+$/.test(key) ? Number(key) < length : key in target),
    ownKeys: () => [...Array.from({ length }, (_, i) => String(i)), 'length'],
    getOwnPropertyDescriptor(target, key) {
      if (key === 'length') return { value: length, writable: true, enumerable: false, configurable: false };
      const index = Number(key);
      return Number.isInteger(index) && index >= 0 && index < length
        ? { value: native.at(name, index), writable: true, enumerable: true, configurable: true }
        : undefined;
    },
    set: refuse,
    defineProperty: refuse,
    deleteProperty: refuse,
  });
}
export default { SharedArray };
