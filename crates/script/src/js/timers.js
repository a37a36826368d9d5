export const { setTimeout, setInterval, clearTimeout, clearInterval } = globalThis;
export default { setTimeout, setInterval, clearTimeout, clearInterval };
