// There is no console here, but Strapi wants its secrets all the same.
const secret = 'for this check only, 32 letters.';

export default () => ({
  serveAdminPanel: false,
  auth: { secret },
  apiToken: { salt: secret },
  transfer: { token: { salt: secret } },
  secrets: { encryptionKey: secret },
});
