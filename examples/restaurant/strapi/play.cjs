// Runs inside the Strapi project: one day of the restaurant, in five steps.

const { createStrapi } = require('@strapi/strapi');

async function play() {
  const app = await createStrapi({ appDir: process.cwd(), distDir: `${process.cwd()}/dist` }).load();
  const documents = (type) => app.documents(`api::${type}.${type}`);
  const table = await documents('table').create({ data: { number: 5, status: 'free' } });
  await documents('table').update({ documentId: table.documentId, data: { status: 'occupied' } });
  const order = await documents('order').create({
    data: { orderNumber: 101, tableNumber: 5, status: 'new', totalAmount: 21, itemCount: 1 },
  });
  const ticket = await documents('ticket').create({
    data: {
      ticketNumber: '101-1', station: 'grill', priority: 'normal', status: 'new', menuItemName: 'Salmon fillet', order: order.documentId,
    },
  });
  await documents('ticket').update({ documentId: ticket.documentId, data: { status: 'cooking' } });
  await documents('order').update({ documentId: order.documentId, data: { status: 'preparing' } });
  await documents('order').update({ documentId: order.documentId, data: { status: 'cancelled', cancelReason: 'burnt' } });
  const salmon = await documents('ingredient').create({ data: { name: 'Salmon', currentStock: 2, minStock: 1.5, unit: 'kg' } });
  await documents('ingredient').update({ documentId: salmon.documentId, data: { currentStock: 1 } });
  await documents('batch').create({ data: { quantity: 5, supplierName: 'Fresh & Co', ingredient: salmon.documentId } });
  await app.destroy();
}

play().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
