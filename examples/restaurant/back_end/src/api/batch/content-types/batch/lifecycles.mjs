import { emitBatchReceived, isPusherEnabled } from '../../../../utils/pusher.mjs';

export default {
  async afterCreate({ result: { documentId } }) {
    if (isPusherEnabled()) {
      const batch = await strapi.db.query('api::batch.batch').findOne({ where: { documentId }, populate: ['ingredient'] });
      await emitBatchReceived(batch);
    }
  },
};
