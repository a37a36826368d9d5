// What a response tells of its connection.
import { check } from 'k6';
import http from 'k6/http';

export const options = {
  insecureSkipTLSVerify: true,
  iterations: 1,
  thresholds: { 'http_reqs{tls_version:tls1.3}': ['count==1'] },
};

export default function () {
  const response = http.get(`${__ENV.URL}/`);
  check(response, {
    'version': (r) => r.tls_version === http.TLS_1_3,
    'suite': (r) => /^TLS_AES_|^TLS_CHACHA20_/.test(r.tls_cipher_suite),
    'nothing stapled': (r) => r.ocsp.status === http.OCSP_STATUS_UNKNOWN,
    'in its JSON': (r) => JSON.parse(JSON.stringify(r)).tls_version === 'tls1.3',
  });
}
