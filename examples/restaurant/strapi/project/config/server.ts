export default () => ({ host: '127.0.0.1', port: 1337, app: { keys: ['for this check only'] } });
