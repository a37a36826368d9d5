import { SharedArray } from 'k6/data';
import { check } from 'k6';
import papaparse from 'https://jslib.k6.io/papaparse/5.1.1/index.js';

const users = new SharedArray('users', () => papaparse.parse(open('./users.csv'), { header: true, skipEmptyLines: true }).data);
const raw = open('users.csv', 'b');

export const options = { vus: 2, iterations: 4 };

export default function () {
  check(users, {
    'all are there': (u) => u.length === 3 && u[1].name === 'Bob, "B"' && u[3] === undefined,
    'as an array': (u) => u.map((one) => one.id).join() === '1,2,3' && [...u].length === 3 && Array.isArray(u),
    'it cannot be changed': (u) => { try { u[0] = 1; return false; } catch (e) { return e instanceof TypeError; } },
    'bytes': () => raw.byteLength > 20,
  });
}
