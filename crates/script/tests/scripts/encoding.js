import encoding from 'k6/encoding';
import { check } from 'k6';

export default function () {
  check(null, {
    std: () => encoding.b64encode('hello, world!') === 'aGVsbG8sIHdvcmxkIQ==',
    rawurl: () => encoding.b64encode('a?b>c~', 'rawurl') === 'YT9iPmN-',
    back: () => encoding.b64decode('aGVsbG8=', 'std', 's') === 'hello',
    bytes: () => new Uint8Array(encoding.b64decode('/w=='))[0] === 255,
    wrong: () => { try { encoding.b64decode('!'); return false; } catch { return true; } },
  });
}
