// Loaded into the back end by a test: the restaurant's own DNS, which leads
// *.pusher.com to its server. The port is ours too, because 443 belongs to root.

import tls from 'node:tls';

const { connect } = tls;

tls.connect = (options, ...more) => {
  const isPusher = options.host?.endsWith('.pusher.com') && Number(options.port) === 443;
  return connect(isPusher ? { ...options, host: '127.0.0.1', port: Number(process.env.FANFARE_PORT) } : options, ...more);
};
