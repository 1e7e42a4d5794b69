// The content types that the lifecycles belong to, as Strapi keeps them.

const text = { type: 'string' };
const whole = { type: 'integer' };
const number = { type: 'float' };
const one = (type) => ({ type: 'relation', relation: 'manyToOne', target: `api::${type}.${type}` });

const ATTRIBUTES = {
  order: { orderNumber: whole, tableNumber: whole, status: text, totalAmount: number, itemCount: whole, cancelReason: text },
  ticket: { ticketNumber: text, station: text, priority: text, status: text, menuItemName: text, order: one('order') },
  ingredient: { name: text, currentStock: number, minStock: number, unit: text },
  batch: { quantity: number, supplierName: text, ingredient: one('ingredient') },
  table: { number: whole, status: text },
};

/** Type to the content of its `schema.json`. */
export const SCHEMAS = Object.fromEntries(
  Object.entries(ATTRIBUTES).map(([name, attributes]) => {
    const plural = name === 'batch' ? 'batches' : `${name}s`;
    return [
      name,
      {
        kind: 'collectionType',
        collectionName: plural,
        info: { singularName: name, pluralName: plural, displayName: name },
        options: { draftAndPublish: false },
        attributes,
      },
    ];
  }),
);
