import { emitOrderCancelled, emitOrderCreated, emitOrderUpdated, isPusherEnabled } from '../../../../utils/pusher.mjs';

export default {
  async afterCreate({ result }) {
    if (isPusherEnabled()) {
      await emitOrderCreated(result);
    }
  },

  async beforeUpdate(event) {
    event.state.previous = await strapi.db.query('api::order.order').findOne({ where: event.params.where });
  },

  async afterUpdate({ result, state }) {
    const previousStatus = state.previous?.status;
    if (!isPusherEnabled() || result.status === previousStatus) {
      return;
    }
    if (result.status === 'cancelled') {
      await emitOrderCancelled(result, result.cancelReason ?? undefined);
    } else {
      await emitOrderUpdated(result, previousStatus);
    }
  },
};
