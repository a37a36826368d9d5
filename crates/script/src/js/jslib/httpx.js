// Offline counterpart of jslib's httpx: a session with a base URL and defaults.
import http from 'k6/http';

export class Get { constructor(url, body, params) { Object.assign(this, { method: 'GET', url, body, params }); } }
export class Post { constructor(url, body, params) { Object.assign(this, { method: 'POST', url, body, params }); } }

export class Httpx {
  constructor({ baseURL = '', headers = {}, timeout = 30000, tags = {} } = {}) {
    Object.assign(this, { baseURL, headers, timeout, tags });
  }
  setBaseUrl(url) { this.baseURL = url; }
  addHeader(name, value) { this.headers[name] = value; }
  addHeaders(headers) { Object.assign(this.headers, headers); }
  clearHeader(name) { delete this.headers[name]; }
  addTag(name, value) { this.tags[name] = value; }
  addTags(tags) { Object.assign(this.tags, tags); }
  clearTag(name) { delete this.tags[name]; }
  #params(params = {}) {
    return {
      timeout: this.timeout,
      ...params,
      headers: { ...this.headers, ...params?.headers },
      tags: { ...this.tags, ...params?.tags },
    };
  }
  #url(url) {
    return typeof url === 'string' && !/^https?:\/\//.test(url) ? this.baseURL + url : url;
  }
  request(method, url, body, params) {
    return http.request(method, this.#url(url), body, this.#params(params));
  }
  asyncRequest(method, url, body, params) {
    return http.asyncRequest(method, this.#url(url), body, this.#params(params));
  }
  get(url, body, params) { return this.request('GET', url, body, params); }
  post(url, body, params) { return this.request('POST', url, body, params); }
  put(url, body, params) { return this.request('PUT', url, body, params); }
  patch(url, body, params) { return this.request('PATCH', url, body, params); }
  delete(url, body, params) { return this.request('DELETE', url, body, params); }
  options(url, body, params) { return this.request('OPTIONS', url, body, params); }
  head(url, body, params) { return this.request('HEAD', url, body, params); }
  batch(requests, params) {
    return http.batch(requests.map((one) =>
      [one.method, this.#url(one.url), one.body, this.#params({ ...params, ...one.params })]));
  }
}

export const Request = Httpx;
export default { Httpx, Request, Get, Post };
