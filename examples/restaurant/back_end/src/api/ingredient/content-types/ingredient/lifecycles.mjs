import { emitLowStock, isPusherEnabled, severityOf } from '../../../../utils/pusher.mjs';

const SEVERITIES = ['none', 'warning', 'critical'];

export default {
  async beforeUpdate(event) {
    event.state.previous = await strapi.db.query('api::ingredient.ingredient').findOne({ where: event.params.where });
  },

  // Once when it begins to run low and once when it is nearly gone: the next dish
  // is no news.
  async afterUpdate({ result, state }) {
    const [before, now] = [state.previous ?? result, result].map((stock) => SEVERITIES.indexOf(severityOf(stock)));
    if (isPusherEnabled() && now > before) {
      await emitLowStock(result);
    }
  },
};
