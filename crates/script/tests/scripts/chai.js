import chai, { describe, expect } from 'https://jslib.k6.io/k6chaijs/4.3.4.3/index.js';
import { htmlReport } from 'https://raw.githubusercontent.com/benc-uk/k6-reporter/main/dist/bundle.js';
import http from 'k6/http';
import { check } from 'k6';

chai.config.logFailures = true;

export default function () {
  const whole = describe('words', () => {
    const response = http.get(`${__ENV.URL}/json`);
    expect(response.status, 'status').to.equal(200);
    expect(response).to.have.validJsonBody();
    expect([1, 2, 3]).to.be.an('array').that.includes(2);
    expect([1, 2, 3]).to.include.members([3]);
    expect({ a: { b: [1] } }).to.deep.equal({ a: { b: [1] } });
    expect({ a: { b: 2 } }).to.have.nested.property('a.b').that.equals(2);
    expect('abc', 'text').to.not.contain('x');
    expect('abc').to.have.lengthOf(3);
    expect([1, 2]).to.have.length.above(1);
    expect({ a: 1, b: 2 }).to.have.all.keys('a', 'b');
    expect(() => null.x).to.throw(/null/);
    expect(5).to.be.within(1, 5);
    expect(undefined).to.not.exist;
  });
  const failed = describe('failed', () => {
    expect(1, 'one').to.equal(2);
    expect(true).to.be.true;
  });
  const thrown = describe('thrown', () => nobody.knows());
  check(null, { 'what describe says': () => whole && !failed && !thrown });
}

export function handleSummary(data) {
  return { stdout: htmlReport(data, { title: '<chai>' }) };
}
