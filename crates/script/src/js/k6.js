const native = globalThis.__trimtab.k6;
const pause = native.sleep;
export const { check, group, fail, randomSeed } = native;
// What suspends is called by a function of its own: its return links the user's stack frames again.
export function sleep(seconds) { return pause(seconds); }
export default { check, sleep, group, fail, randomSeed };
