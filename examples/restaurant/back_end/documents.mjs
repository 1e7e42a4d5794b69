// Documents in SQLite, with lifecycles in the manner of Strapi.
//
// Every change of a document gives it a new `version`: milliseconds of a clock that
// never stands still or goes back. A client that has seen everything up to a
// version asks for what came after it. `afterCreate` and `afterUpdate` run when
// the transaction is committed, so that nobody hears of what does not happen.

import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';

import Database from 'libsql';

// Columns beside `documentId`, `createdAt` and `version`. JSON and SQLite agree
// on these types, so that rows need no conversion.
const TYPES = {
  order: {
    requestId: 'TEXT UNIQUE',
    orderNumber: 'INTEGER NOT NULL',
    tableNumber: 'INTEGER',
    status: 'TEXT NOT NULL',
    totalAmount: 'REAL NOT NULL',
    itemCount: 'INTEGER NOT NULL',
    cancelReason: 'TEXT',
  },
  ticket: {
    ticketNumber: 'TEXT NOT NULL',
    orderDocumentId: 'TEXT NOT NULL',
    orderNumber: 'INTEGER NOT NULL',
    tableNumber: 'INTEGER',
    station: 'TEXT NOT NULL',
    priority: 'TEXT NOT NULL',
    status: 'TEXT NOT NULL',
    menuItemName: 'TEXT NOT NULL',
    quantity: 'INTEGER NOT NULL',
    note: 'TEXT',
    slaSeconds: 'INTEGER NOT NULL',
    slaState: 'TEXT NOT NULL',
    startedAt: 'TEXT',
    readyAt: 'TEXT',
    servedAt: 'TEXT',
  },
  ingredient: { name: 'TEXT NOT NULL', currentStock: 'REAL NOT NULL', minStock: 'REAL NOT NULL', unit: 'TEXT NOT NULL' },
  batch: { ingredientDocumentId: 'TEXT NOT NULL', quantity: 'REAL NOT NULL', supplierName: 'TEXT' },
  table: { number: 'INTEGER NOT NULL UNIQUE', seats: 'INTEGER NOT NULL', status: 'TEXT NOT NULL' },
};

// What `populate` can follow: the column, and the type that it names.
const RELATIONS = { order: ['orderDocumentId', 'order'], ingredient: ['ingredientDocumentId', 'ingredient'] };

export class Documents {
  #database;
  #lifecycles;
  #version;
  /** What is to be told when the transaction is committed; null outside one. */
  #untold = null;
  #statements = new Map();

  /** Opens the file, or makes it. */
  static async open(path) {
    return new Documents(path, await readLifecycles());
  }

  constructor(path, lifecycles) {
    this.#lifecycles = lifecycles;
    this.#database = new Database(path);
    this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    for (const [type, columns] of Object.entries(TYPES)) {
      const definitions = Object.entries(columns).map(([name, definition]) => `"${name}" ${definition}`);
      this.#database.exec(`
        CREATE TABLE IF NOT EXISTS "${type}" (
          documentId TEXT PRIMARY KEY, createdAt TEXT NOT NULL, version INTEGER NOT NULL, ${definitions.join(', ')});
        CREATE INDEX IF NOT EXISTS "${type}_version" ON "${type}" (version)`);
    }
    this.#database.exec('CREATE TABLE IF NOT EXISTS origin (id TEXT NOT NULL)');
    this.#run('INSERT INTO origin SELECT ? WHERE NOT EXISTS (SELECT 1 FROM origin)', newId());
    /** Tells this database from one that was begun anew. */
    this.origin = this.#all('SELECT id FROM origin')[0].id;
    const newest = Object.keys(TYPES).map((type) => this.#all(`SELECT max(version) AS version FROM "${type}"`)[0].version ?? 0);
    this.#version = Math.max(...newest);
  }

  /** The version of the latest change. */
  get version() {
    return this.#version;
  }

  create(type, data) {
    const document = { documentId: newId(), createdAt: new Date().toISOString(), version: this.#nextVersion(), ...data };
    const names = Object.keys(document);
    const places = names.map(() => '?').join(', ');
    this.#run(`INSERT INTO "${type}" (${names.map(quoted).join(', ')}) VALUES (${places})`, ...Object.values(document));
    const result = this.findOne(type, { documentId: document.documentId });
    this.#tell(type, 'Create', { result, params: { data }, state: {} });
    return result;
  }

  update(type, documentId, data) {
    const where = { documentId };
    const state = { previous: this.findOne(type, where) };
    const changes = { ...data, version: this.#nextVersion() };
    const settings = Object.keys(changes).map((name) => `${quoted(name)} = ?`).join(', ');
    this.#run(`UPDATE "${type}" SET ${settings} WHERE documentId = ?`, ...Object.values(changes), documentId);
    const result = this.findOne(type, where);
    this.#tell(type, 'Update', { result, params: { where, data }, state });
    return result;
  }

  findOne(type, where) {
    const [name, value] = Object.entries(where)[0];
    return this.#all(`SELECT * FROM "${type}" WHERE ${quoted(name)} = ?`, value)[0] ?? null;
  }

  /** `where` is SQL; what comes from outside belongs into `values`. */
  findMany(type, where = 'TRUE', ...values) {
    return this.#all(`SELECT * FROM "${type}" WHERE ${where}`, ...values);
  }

  /** Runs `steps` altogether or not at all, and tells of them afterwards. */
  transaction(steps) {
    this.#untold = [];
    let untold;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const result = steps();
      this.#database.exec('COMMIT');
      untold = this.#untold;
      return result;
    } catch (error) {
      if (this.#database.inTransaction) {
        this.#database.exec('ROLLBACK');
      }
      throw error;
    } finally {
      this.#untold = null;
      untold?.forEach((tell) => tell());
    }
  }

  close() {
    this.#database.close();
  }

  #nextVersion() {
    this.#version = Math.max(Date.now(), this.#version + 1);
    return this.#version;
  }

  #tell(type, action, event) {
    const lifecycle = this.#lifecycles[type]?.[`after${action}`];
    if (!lifecycle) {
      return;
    }
    const tell = () => lifecycle({ action: `after${action}`, model: { uid: `api::${type}.${type}` }, ...event })
      .catch((error) => console.error(`after${action} of ${type}:`, error));
    if (this.#untold) {
      this.#untold.push(tell);
    } else {
      tell();
    }
  }

  #prepare(sql) {
    if (!this.#statements.has(sql)) {
      this.#statements.set(sql, this.#database.prepare(sql));
    }
    return this.#statements.get(sql);
  }

  #all(sql, ...values) {
    return this.#prepare(sql).all(...values);
  }

  #run(sql, ...values) {
    return this.#prepare(sql).run(...values);
  }

  /** As much of Strapi's `strapi` as lifecycles use. */
  asStrapi() {
    const query = (uid) => {
      const type = uid.split('.').at(-1);
      return {
        findOne: async ({ where, populate = [] }) => {
          const document = this.findOne(type, where);
          for (const relation of document ? populate : []) {
            const [column, relatedType] = RELATIONS[relation];
            document[relation] = this.findOne(relatedType, { documentId: document[column] });
          }
          return document;
        },
      };
    };
    return { db: { query } };
  }
}

/** `src/api/TYPE/content-types/TYPE/lifecycles.mjs`, where Strapi looks for them. */
async function readLifecycles() {
  const api = new URL('src/api/', import.meta.url);
  const lifecycles = {};
  for (const type of readdirSync(api)) {
    const module = await import(new URL(`${type}/content-types/${type}/lifecycles.mjs`, api));
    lifecycles[type] = module.default;
  }
  return lifecycles;
}

function quoted(name) {
  return `"${name}"`;
}

function newId() {
  return randomBytes(12).toString('hex');
}
