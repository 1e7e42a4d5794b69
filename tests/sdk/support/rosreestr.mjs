// Stands in for the portal that has the documents: the paths of a person's cabinet and
// those of a gateway, with a script for each cadastral number. The real one is never asked.

import { once } from 'node:events';
import { createServer } from 'node:http';

import { atEnd } from './cleanup.mjs';

/** What the gateway knows its client by. */
export const GATEWAY_TOKEN = 'token-of-the-gateway';

/** What a session in the cabinet has as its cookies. */
export const COOKIES = 'JSESSIONID=cookie-of-the-cabinet; other=1';

// The beginning of a zip file with one XML, and its end: nobody unpacks it here.
const DOCUMENT = Buffer.concat([Buffer.from('PK\u0003\u0004'), Buffer.from('<extract/>')]);

/**
 * What the last part of a number makes happen: 404 nobody knows it, 500 three failures
 * first, 429 too often once, 402 no orders left, 410 refused later, 999 slow, 998 slow
 * and in no list before its time, 666 the
 * answer to the order never comes, 667 the order never arrives. Without `login` those of
 * all accounts are right.
 */
export async function startPortal(t, { login, password, slowMs = 1500 } = {}) {
  const portal = new Portal(login, password, slowMs);
  portal.server = createServer((request, response) => portal.answer(request, response));
  portal.server.listen(0, '127.0.0.1');
  await once(portal.server, 'listening');
  atEnd(t, async () => {
    portal.server.closeAllConnections();
    await new Promise((resolve) => portal.server.close(resolve));
  });
  return portal;
}

class Portal {
  /** Every order that was placed: `{number, reference, orderNum, polls}`. */
  placed = [];
  /** Method and path of every request. */
  asked = [];
  /** What was wrong with requests. */
  complaints = [];
  #login;
  #password;
  #slowMs;
  #failures = new Map();
  #drafts = new Map();

  constructor(login, password, slowMs) {
    this.#login = login;
    this.#password = password;
    this.#slowMs = slowMs;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  placedFor(number) {
    return this.placed.filter((order) => order.number === number);
  }

  async answer(request, response) {
    const chunks = [];
    for await (const chunk of request) {
      chunks.push(chunk);
    }
    const text = Buffer.concat(chunks).toString();
    const body = text ? JSON.parse(text) : {};
    const url = new URL(request.url, 'http://portal');
    this.asked.push(`${request.method} ${url.pathname}`);
    const send = (status, content, headers = {}) => {
      response.writeHead(status, headers);
      response.end(Buffer.isBuffer(content) ? content : JSON.stringify(content ?? {}));
    };
    const isCabinet = url.pathname.startsWith('/account-');
    const isKnown = isCabinet
      ? request.headers.cookie === COOKIES
      : request.headers.authorization === `Bearer ${GATEWAY_TOKEN}`;
    if (!isKnown) {
      this.complaints.push(`${request.url}: not let in`);
      return send(401);
    }
    return isCabinet ? this.#cabinet(url, body, send) : this.#gateway(request.method, url, body, send);
  }

  #gateway(method, url, body, send) {
    const [, kind, name] = url.pathname.split('/').map(decodeURIComponent);
    if (kind === 'balance') {
      return send(200, { available: 5 });
    }
    if (kind === 'objects') {
      return send(name.endsWith(':404') ? 404 : 200);
    }
    if (kind === 'documents') {
      return send(200, DOCUMENT);
    }
    if (method === 'POST') {
      const isLogin = this.#login === undefined || body.login === this.#login;
      if (!isLogin || body.password !== this.#password) {
        this.complaints.push('wrong login or password');
        return send(403);
      }
      return this.#place(body.cadNumber, body.reference, (orderNum) => send(200, { orderNum }), send);
    }
    if (name === undefined) {
      const reference = url.searchParams.get('reference');
      return send(200, { orders: this.placed.filter((order) => order.reference === reference) });
    }
    const order = this.placed.find(({ orderNum }) => orderNum === name);
    const [status, said] = this.#poll(order);
    return send(200, { status, text: said, document: `file-${name}` });
  }

  #cabinet(url, body, send) {
    switch (url.pathname) {
      case '/account-back/finances/operations/total':
        return send(200, [
          { mnemo: 'other', count: 0 },
          { mnemo: 'egrn_with_docs_1', count: this.balance ?? 5 },
        ]);
      case '/account-back/on/with-addresses': {
        const [number] = body.cadNumbers;
        const elements = number.endsWith(':404') ? [] : [{ cadastralNumber: number, address: 'Саратов' }];
        return send(200, { elements, count: elements.length });
      }
      case '/account-request/statement/upload': {
        const guid = `package-${this.#drafts.size + 1}`;
        this.#drafts.set(guid, body.cadastralNumber);
        return send(200, { superPackageGuid: guid, statementGuid: 'x' });
      }
      case '/account-back/access-key/current-user':
        return send(200, 'access-key');
      case '/account-request/statement/finish': {
        const guid = body.superPackageGuid;
        if (body.accessKey !== 'access-key' || this.#drafts.get(guid) !== body.subjectObject) {
          this.complaints.push(`finish: ${JSON.stringify(body)}`);
          return send(400);
        }
        return this.#place(body.subjectObject, guid, (orderNum) => send(200, orderNum), send);
      }
      case '/account-back/applications': {
        const found = this.placed.filter(
          ({ orderNum, reference }) => orderNum === body.requestNumber || reference === body.superPackageGuid,
        );
        const content = found.map((order) => ({
          id: 900 + this.placed.indexOf(order),
          requestNumber: order.orderNum,
          superPackageGuid: order.reference,
          requestStatus: body.requestNumber ? this.#poll(order)[1] : 'Проверка',
        }));
        return send(200, { content });
      }
      default:
        return url.pathname.endsWith('/download') ? send(200, DOCUMENT) : send(404);
    }
  }

  /** Each question finds an order one step further. */
  #poll(order) {
    order.polls += 1;
    if (order.number.endsWith(':410')) {
      return ['refused', 'Отказ в предоставлении'];
    }
    return order.polls < 3 ? ['pending', 'Проверка'] : ['ready', 'Выполнено'];
  }

  #place(number, reference, done, send) {
    const script = number.split(':').at(-1);
    const count = (this.#failures.get(number) ?? 0) + 1;
    this.#failures.set(number, count);
    if (script === '402') {
      return send(402);
    }
    if (script === '500' && count <= 3) {
      return send(500, { error: 'давайте попозже' });
    }
    if (script === '429' && count === 1) {
      return send(429, {}, { 'retry-after': '1' });
    }
    if (script === '667' && count === 1) {
      // It never arrived, and the client waits.
      return undefined;
    }
    if (script === '998' && !this.placed.some((known) => known.reference === reference)) {
      const place = () => {
        if (!this.placed.some((known) => known.reference === reference)) {
          this.placed.push({ number, reference, orderNum: `80-${this.placed.length + 1}`, polls: 0 });
        }
        done(this.placed.find((known) => known.reference === reference).orderNum);
      };
      return setTimeout(place, this.#slowMs);
    }
    let order = this.placed.find((known) => known.reference === reference);
    if (order === undefined) {
      order = { number, reference, orderNum: `80-${this.placed.length + 1}`, polls: 0 };
      this.placed.push(order);
    }
    if (script === '666' && count === 1) {
      return undefined;
    }
    if (script === '999') {
      return setTimeout(() => done(order.orderNum), this.#slowMs);
    }
    return done(order.orderNum);
  }
}
