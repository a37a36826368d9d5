export const { b64encode, b64decode } = globalThis.__trimtab.encoding;
export default { b64encode, b64decode };
