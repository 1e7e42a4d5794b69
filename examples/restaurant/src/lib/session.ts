// The name under which the server knows what this display has handled already. A tab
// keeps it over reloads; two tabs have one each, as only one connection may have it.

const KEY = 'session';

export function sessionName(): string {
  const kept = sessionStorage.getItem(KEY);
  if (kept) {
    return kept;
  }
  // `randomUUID` is there on pages with HTTPS only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const name = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  sessionStorage.setItem(KEY, name);
  return name;
}
