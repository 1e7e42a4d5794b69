import { emitItemStatusChanged, emitTicketCreated, emitTicketStatusChanged, isPusherEnabled } from '../../../../utils/pusher.mjs';

const tickets = () => strapi.db.query('api::ticket.ticket');

// What a lifecycle gets has no relations, and without the order nobody would
// know the table.
const withOrder = ({ documentId }) => tickets().findOne({ where: { documentId }, populate: ['order'] });

export default {
  async afterCreate({ result }) {
    if (isPusherEnabled()) {
      await emitTicketCreated(await withOrder(result));
    }
  },

  async beforeUpdate(event) {
    event.state.previous = await tickets().findOne({ where: event.params.where });
  },

  async afterUpdate({ result, state }) {
    const previousStatus = state.previous?.status;
    if (!isPusherEnabled() || result.status === previousStatus) {
      return;
    }
    const ticket = { ...(await withOrder(result)), ...result };
    await Promise.all([
      emitTicketStatusChanged(ticket, previousStatus),
      emitItemStatusChanged(ticket, previousStatus),
    ]);
  },
};
