const native = globalThis.__trimtab.http;
export const { asyncRequest, setResponseCallback, cookieJar } = native;
// What suspends is called by a function of its own: its return links the user's stack frames again. All have one code.
const own = (send) => function (a, b, c, d) { return send(a, b, c, d); };
export const get = own(native.get);
export const head = own(native.head);
export const post = own(native.post);
export const put = own(native.put);
export const patch = own(native.patch);
export const del = own(native.del);
export const options = own(native.options);
export const request = own(native.request);
export const batch = own(native.batch);

export function CookieJar() {
  return native.newCookieJar();
}

export function file(data, filename, contentType) {
  return {
    data,
    filename: filename === undefined ? String(Date.now()) + '000000' : String(filename),
    content_type: contentType === undefined ? 'application/octet-stream' : String(contentType),
  };
}

/** Groups requests that differ in values: the name tag keeps the placeholders. */
export function url(strings, ...values) {
  let name = strings[0];
  let text = strings[0];
  for (let i = 0; i < values.length; i++) {
    name += '${}' + strings[i + 1];
    text += String(values[i]) + strings[i + 1];
  }
  return { name, url: text, toString: () => text };
}

export function expectedStatuses(...wanted) {
  if (wanted.length === 0) throw new Error('no arguments');
  const statuses = wanted.map((one, index) => {
    if (Number.isInteger(one)) return [one, one];
    if (one && Number.isInteger(one.min) && Number.isInteger(one.max)) return [one.min, one.max];
    throw new Error(`argument number ${index + 1} to expectedStatuses was neither an integer nor an object like {min:100, max:329}`);
  });
  return { statuses };
}

export const TLS_1_0 = 'tls1.0';
export const TLS_1_1 = 'tls1.1';
export const TLS_1_2 = 'tls1.2';
export const TLS_1_3 = 'tls1.3';
export const OCSP_STATUS_GOOD = 'good';
export const OCSP_STATUS_REVOKED = 'revoked';
export const OCSP_STATUS_UNKNOWN = 'unknown';
export const OCSP_STATUS_SERVER_FAILED = 'server_failed';

export default {
  get, head, post, put, patch, del, options, request, asyncRequest, batch, setResponseCallback, cookieJar, CookieJar,
  file, url, expectedStatuses, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3, OCSP_STATUS_GOOD, OCSP_STATUS_REVOKED,
  OCSP_STATUS_UNKNOWN, OCSP_STATUS_SERVER_FAILED,
};
