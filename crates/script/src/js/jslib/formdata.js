// Offline counterpart of jslib's formdata polyfill.
function bytesOf(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const text = unescape(encodeURIComponent(String(value)));
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

export class FormData {
  constructor() {
    this.fields = [];
    this.boundary = `------RWWorkerFormDataBoundary${Math.random().toString(36).slice(2)}`;
  }
  append(name, value, filename) {
    this.fields.push([name, value, filename]);
  }
  get(name) {
    return this.fields.find(([known]) => known === name)?.[1] ?? null;
  }
  has(name) {
    return this.fields.some(([known]) => known === name);
  }
  body() {
    const parts = [];
    for (const [name, value, filename] of this.fields) {
      const isFile = value && typeof value === 'object' && 'data' in value;
      const shown = filename || (isFile ? value.filename : undefined);
      let head = `--${this.boundary}\r\nContent-Disposition: form-data; name="${name}"`;
      if (shown) head += `; filename="${shown}"`;
      if (isFile) head += `\r\nContent-Type: ${value.content_type || 'application/octet-stream'}`;
      parts.push(bytesOf(`${head}\r\n\r\n`), bytesOf(isFile ? value.data : value), bytesOf('\r\n'));
    }
    parts.push(bytesOf(`--${this.boundary}--\r\n`));
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole.buffer;
  }
}
export default { FormData };
