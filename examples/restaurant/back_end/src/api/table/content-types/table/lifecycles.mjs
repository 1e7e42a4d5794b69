import { emitTableStatusChanged, isPusherEnabled } from '../../../../utils/pusher.mjs';

export default {
  async beforeUpdate(event) {
    event.state.previous = await strapi.db.query('api::table.table').findOne({ where: event.params.where });
  },

  async afterUpdate({ result, state }) {
    const previousStatus = state.previous?.status;
    if (isPusherEnabled() && result.status !== previousStatus) {
      await emitTableStatusChanged(result, previousStatus);
    }
  },
};
