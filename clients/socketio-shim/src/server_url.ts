// Where the server is, from what `io` is called with.

export interface Server {
  origin: string;
  host: string;
  port: number;
  isSecure: boolean;
  /** The path without its slash: an app of its own here, a namespace in Socket.IO. */
  namespace: string | undefined;
}

/** Throws a `TypeError` for what is no address of a server. */
export function serverOf(address: string | undefined, page = globalThis.location?.href): Server {
  const url = new URL(withScheme(address ?? '/', page), page);
  const isSecure = ['https:', 'wss:'].includes(url.protocol);
  if (!isSecure && !['http:', 'ws:'].includes(url.protocol)) {
    throw new TypeError(`no address of a server: ${address}`);
  }
  const scheme = isSecure ? 'https:' : 'http:';
  return {
    origin: `${scheme}//${url.host}`,
    host: url.hostname,
    port: Number(url.port || (isSecure ? 443 : 80)),
    isSecure,
    namespace: url.pathname.replace(/^\/+|\/+$/g, '') || undefined,
  };
}

/** `localhost:3000` is a host with a port, not a scheme. */
function withScheme(address: string, page: string | undefined): string {
  if (/^[a-z]+:\/\//i.test(address) || (address.startsWith('/') && !address.startsWith('//'))) {
    return address;
  }
  const scheme = page?.startsWith('http:') ? 'http:' : 'https:';
  return address.startsWith('//') ? scheme + address : `${scheme}//${address}`;
}
