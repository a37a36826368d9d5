import { WebSocket } from 'k6/experimental/websockets';
import { check } from 'k6';

export const options = { thresholds: { ws_msgs_sent: ['count==7'], ws_msgs_received: ['count==4'], ws_sessions: ['count==3'] } };

export default function () {
  const url = __ENV.URL.replace('http', 'ws');
  const seen = [];
  const socket = new WebSocket(`${url}/ws`, ['one', 'two'], { headers: { 'X-A': 'own' }, tags: { my: 'tag' } });
  check(socket, { 'connecting': (s) => s.readyState === 0 && s.url === `${url}/ws` });
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    seen.push(`open ${socket.readyState} ${socket.protocol}`);
    socket.send('hello');
    socket.send(new Uint8Array([1, 2]));
    socket.ping();
    socket.send('headers');
  };
  socket.addEventListener('message', (event) => {
    seen.push(typeof event.data === 'string' ? event.data : 'bytes ' + event.data.byteLength);
    if (event.data === 'own||one') socket.send('ping');
    if (event.data === 'ponged') setTimeout(() => socket.close(1000, 'done'), 5);
  });
  socket.onping = () => seen.push('ping');
  socket.onpong = () => seen.push('pong');
  socket.onclose = () => {
    seen.push('close ' + socket.readyState);
    check(seen, {
      'all is heard': (all) => [...all].sort().join() === 'bytes 2,close 3,hello,open 1 one,own||one,ping,pong,ponged',
    });
    closedByServer(url);
  };
}

function closedByServer(url) {
  const socket = new WebSocket(`${url}/ws`);
  socket.onopen = () => socket.send('close');
  socket.onclose = () => {
    const refused = new WebSocket(`${url}/ok`);
    let told = '';
    refused.onerror = (event) => { told = event.error; };
    refused.onclose = () => check(told, { 'refused': (text) => text === 'websocket: bad handshake' });
    let early = '';
    try { refused.send('x'); } catch (error) { early = String(error.message || error); }
    check(early, { 'not yet open': (text) => text.includes('InvalidState') });
  };
}
