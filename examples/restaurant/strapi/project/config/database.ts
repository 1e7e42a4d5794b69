export default () => ({
  connection: { client: 'sqlite', connection: { filename: ':memory:' }, pool: { min: 1, max: 1 }, useNullAsDefault: true },
});
