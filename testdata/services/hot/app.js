// A service on one event loop: one endpoint computes for long, one answers at once.
const http = require("http");

function renderReport(rounds) {
  let sum = 0;
  for (let n = 0; n < rounds; n++) sum = (sum * 31 + Math.floor(Math.sqrt(n) * 1000)) % 1000003;
  return sum;
}

http
  .createServer((request, response) => {
    const body = request.url.startsWith("/report") ? String(renderReport(4000000)) : "pong";
    response.writeHead(200, { "Content-Length": body.length });
    response.end(body);
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
