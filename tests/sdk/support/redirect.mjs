// Preloaded into a stock client: what DNS and port 443 do on a real network.
//
// The names of hosted Pusher resolve to this machine, and port 443, which a test
// may not listen on, is the port in FANFARE_TLS_PORT.

import dns from 'node:dns';
import net from 'node:net';
import { syncBuiltinESMExports } from 'node:module';

const { lookup } = dns;
dns.lookup = (name, options, callback) =>
  lookup(name.endsWith('.pusher.com') ? '127.0.0.1' : name, options, callback);

const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (...parameters) {
  const [first] = parameters;
  const options = Array.isArray(first) ? first[0] : first;
  if (Number(options?.port) === 443) {
    options.port = Number(process.env.FANFARE_TLS_PORT);
  }
  return connect.apply(this, parameters);
};
syncBuiltinESMExports();
