import ws from 'k6/ws';
import { check } from 'k6';

export const options = { vus: 2, iterations: 2, thresholds: { 'ws_msgs_received{my:tag}': ['count==10'], ws_sessions: ['count==8'] } };

export default function () {
  const url = __ENV.URL.replace('http', 'ws');
  const seen = [];
  const res = ws.connect(`${url}/ws`, { headers: { 'X-A': 'own' }, tags: { my: 'tag' } }, (socket) => {
    socket.on('open', () => { socket.send('hello'); socket.sendBinary(new Uint8Array([1, 2, 3]).buffer); socket.ping(); socket.send('headers'); });
    socket.on('message', (text) => {
      seen.push(text.length > 1000 ? 'big' : text);
      if (text.startsWith('own')) socket.send('ping');
      if (text === 'ponged') socket.setTimeout(() => { socket.send('x'.repeat(100000)); }, 5);
      if (text.length > 1000) {
        let ticks = 0;
        socket.setInterval(() => { ticks += 1; if (ticks === 3) socket.close(); }, 2);
      }
    });
    socket.on('binaryMessage', (data) => seen.push('bytes ' + data.byteLength));
    socket.on('ping', () => seen.push('ping'));
    socket.on('pong', () => seen.push('pong'));
    socket.on('close', (code) => seen.push('close ' + code));
    socket.on('error', (error) => console.log(error.error()));
  });
  check(res, {
    'status is 101': (r) => r && r.status === 101 && r.error === '',
    'all is heard': () => [...new Set(seen)].sort().join() === 'big,bytes 3,close 1001,hello,own||,ping,pong,ponged',
  });
  const ended = [];
  ws.connect(`${url}/ws`, null, (socket) => {
    socket.on('open', () => socket.send('close'));
    socket.on('close', (code) => ended.push(code));
    socket.on('error', (error) => ended.push(error.error()));
  });
  check(ended, { 'the server closes': (all) => all.join() === 'websocket: close 4001: bye,4001' });
  check(ws.connect(`${url}/ok`, () => {}), { 'no WebSocket there': (r) => r.status === 200 && r.url === '' });
  let told = '';
  try { ws.connect(`${url}/ws`, () => { throw new Error('mine'); }); } catch (error) { told = error.message; }
  check(told, { 'exceptions come out': (text) => text.includes('mine') });
}
