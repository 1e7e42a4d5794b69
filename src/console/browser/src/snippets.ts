// Programs that do the same as the console, with the values of an app filled in. The
// secret is never known here: it was shown once, when the key was made.

export interface Place {
  host: string;
  port: number;
  isTls: boolean;
}

export interface Credentials {
  id: string;
  key: string;
}

export interface Event {
  name: string;
  channels: string[];
  data: string;
  socketId?: string;
}

export type Snippet = [language: string, text: string];

const SECRET = 'YOUR_SECRET';

/** In single quotes of a shell. */
const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
const single = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
/** JSON strings are strings of JavaScript, Python and, with `#` escaped, of Ruby. */
const json = (value: unknown) => JSON.stringify(value);
const ruby = (value: unknown) => JSON.stringify(value).replaceAll('#', '\\u0023');
const php = (text: string) => single(text);

/** The data as a value of the language, where it is JSON. */
function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

export function publishing(place: Place, app: Credentials, event: Event): Snippet[] {
  const { name, channels, data, socketId } = event;
  const scheme = place.isTls ? 'https' : 'http';
  const body = JSON.stringify({ name, channels, data, ...(socketId && { socket_id: socketId }) });
  const isJson = typeof parsed(data) !== 'string';
  const value = isJson ? data.trim() : json(data);
  return [
    [
      'cURL',
      `secret='${SECRET}'
body=${shell(body)}
query="auth_key=${app.key}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$(printf %s "$body" | openssl md5 -r | cut -d' ' -f1)"
path=/apps/${encodeURIComponent(app.id)}/events
signature=$(printf 'POST\\n%s\\n%s' "$path" "$query" | openssl dgst -sha256 -hmac "$secret" -r | cut -d' ' -f1)
curl -H 'Content-Type: application/json' -d "$body" \\
  "${scheme}://${place.host}:${place.port}$path?$query&auth_signature=$signature"`,
    ],
    [
      'Node',
      `${nodeClient(place, app)}
await pusher.trigger(${json(channels)}, ${json(name)}, ${value}${socketId ? `, { socket_id: ${json(socketId)} }` : ''});`,
    ],
    [
      'PHP',
      `${phpClient(place, app)}
$pusher->trigger([${channels.map(php).join(', ')}], ${php(name)}, ${isJson ? `json_decode(${php(data)})` : php(data)}${socketId ? `, ['socket_id' => ${php(socketId)}]` : ''});`,
    ],
    [
      'Python',
      `${pythonClient(place, app)}
client.trigger(${json(channels)}, ${json(name)}, ${isJson ? `json.loads(${json(data)})` : json(data)}${socketId ? `, socket_id=${json(socketId)}` : ''})`,
    ],
    [
      'Ruby',
      `require 'pusher'
require 'json'

pusher = Pusher::Client.new(
  app_id: ${ruby(app.id)}, key: ${ruby(app.key)}, secret: '${SECRET}',
  host: ${ruby(place.host)}, port: ${place.port}, scheme: '${scheme}'
)
pusher.trigger(${ruby(channels)}, ${ruby(name)}, ${isJson ? `JSON.parse(${ruby(data)})` : ruby(data)}${socketId ? `, socket_id: ${ruby(socketId)}` : ''})`,
    ],
  ];
}

function nodeClient(place: Place, app: Credentials): string {
  return `import Pusher from 'pusher';

const pusher = new Pusher({
  appId: ${json(app.id)}, key: ${json(app.key)}, secret: '${SECRET}',
  host: ${json(place.host)}, port: ${place.port}, useTLS: ${place.isTls},
});`;
}

function phpClient(place: Place, app: Credentials): string {
  return `$pusher = new Pusher\\Pusher(${php(app.key)}, '${SECRET}', ${php(app.id)}, [
    'host' => ${php(place.host)}, 'port' => ${place.port},
    'scheme' => '${place.isTls ? 'https' : 'http'}', 'useTLS' => ${place.isTls},
]);`;
}

function pythonClient(place: Place, app: Credentials): string {
  return `import json
import pusher

client = pusher.Pusher(
    app_id=${json(app.id)}, key=${json(app.key)}, secret="${SECRET}",
    host=${json(place.host)}, port=${place.port}, ssl=${place.isTls ? 'True' : 'False'},
)`;
}

export function pages(place: Place, app: Credentials): Snippet[] {
  const [port, httpPort] = place.isTls ? ['wssPort', 'httpsPort'] : ['wsPort', 'httpPort'];
  return [
    [
      'pusher-js',
      `import Pusher from 'pusher-js';

const pusher = new Pusher(${json(app.key)}, {
  wsHost: ${json(place.host)}, ${port}: ${place.port},
  httpHost: ${json(place.host)}, ${httpPort}: ${place.port},
  forceTLS: ${place.isTls}, cluster: '',
});
pusher.subscribe('orders').bind('order.created', (order) => console.log(order));`,
    ],
    [
      'Laravel Echo',
      `import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

window.Pusher = Pusher;
window.Echo = new Echo({
  broadcaster: 'pusher', key: ${json(app.key)}, cluster: '',
  wsHost: ${json(place.host)}, ${port}: ${place.port},
  forceTLS: ${place.isTls}, enabledTransports: ['ws', 'wss'],
});
Echo.channel('orders').listen('.order.created', (order) => console.log(order));`,
    ],
  ];
}

export function backEnds(place: Place, app: Credentials): Snippet[] {
  const scheme = place.isTls ? 'https' : 'http';
  const order = '{ id: 7 }';
  return [
    [
      'Laravel (.env)',
      `BROADCAST_CONNECTION=pusher
PUSHER_APP_ID=${app.id}
PUSHER_APP_KEY=${app.key}
PUSHER_APP_SECRET=${SECRET}
PUSHER_HOST=${place.host}
PUSHER_PORT=${place.port}
PUSHER_SCHEME=${scheme}`,
    ],
    [
      'Strapi',
      `// src/index.js, with \`npm install pusher\`
const Pusher = require('pusher');

const pusher = new Pusher({
  appId: ${json(app.id)}, key: ${json(app.key)}, secret: process.env.PUSHER_SECRET,
  host: ${json(place.host)}, port: ${place.port}, useTLS: ${place.isTls},
});

module.exports = {
  bootstrap({ strapi }) {
    strapi.db.lifecycles.subscribe({
      models: ['api::order.order'],
      afterCreate: ({ result }) => pusher.trigger('orders', 'order.created', result),
    });
  },
};`,
    ],
    ['Node', `${nodeClient(place, app)}\nawait pusher.trigger('orders', 'order.created', ${order});`],
    ['PHP', `${phpClient(place, app)}\n$pusher->trigger('orders', 'order.created', ['id' => 7]);`],
    ['Python', `${pythonClient(place, app)}\nclient.trigger("orders", "order.created", {"id": 7})`],
  ];
}
