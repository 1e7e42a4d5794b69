// A Wi-Fi that tests can take away: the HTTP proxy that a browser goes through.
//
// WebSockets and pages pass alike. `off` breaks connections, as when a router is
// restarted; `fade` lets them stand and carries nothing, as when a tablet is taken
// to the cold store.

import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import { connect } from 'node:net';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';

export async function startWifi(t) {
  const wifi = new Wifi();
  await wifi.start();
  atEnd(t, () => wifi.stop());
  return wifi;
}

class Wifi {
  #state = 'on';
  #server = createServer((request, response) => this.#carryRequest(request, response));
  #sockets = new Set();

  async start() {
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      if (this.#state === 'off') {
        socket.destroy();
      }
    });
    this.#server.on('connect', (request, socket) => this.#carryConnection(request, socket));
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.address = `http://127.0.0.1:${this.#server.address().port}`;
  }

  off() {
    this.#state = 'off';
    this.#sockets.forEach((socket) => socket.destroy());
  }

  fade() {
    this.#state = 'faded';
  }

  on() {
    this.#state = 'on';
    // What faded does not come back to life by itself.
    this.#sockets.forEach((socket) => socket.destroy());
  }

  stop() {
    this.#sockets.forEach((socket) => socket.destroy());
    this.#server.close();
  }

  #carryRequest(request, response) {
    if (this.#state !== 'on') {
      return;
    }
    const { method, headers, url } = request;
    const onward = forward(url, { method, headers }, (answer) => {
      if (this.#state === 'on') {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      }
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  }

  #carryConnection(request, socket) {
    if (this.#state !== 'on') {
      return;
    }
    const [host, port] = request.url.split(':');
    const onward = connect(Number(port), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
    const isOn = () => this.#state === 'on';
    onward.on('data', (bytes) => isOn() && socket.write(bytes));
    socket.on('data', (bytes) => isOn() && onward.write(bytes));
    onward.on('error', () => socket.destroy());
    onward.on('close', () => isOn() && socket.destroy());
    socket.on('close', () => onward.destroy());
  }
}
